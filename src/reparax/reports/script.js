// Colors the points of a map by the chosen column.
document.querySelectorAll(".map").forEach(function (map) {
  var select = map.querySelector("select");
  if (!select) return;
  map.querySelector(".choice").hidden = false;
  var points = map.querySelectorAll("circle");
  select.addEventListener("change", function () {
    var codes = select.options[select.selectedIndex].dataset.codes;
    points.forEach(function (point, index) { point.setAttribute("class", "k" + codes[index]); });
    map.querySelectorAll(".legend").forEach(function (legend) { legend.hidden = legend.dataset.of !== select.value; });
  });
});
