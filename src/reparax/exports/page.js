// The page: what the decoder makes of the latent vector, the map of codes, and the address.
const decode = functionOf(about.graph), inputs = () => ({ z, given: givenNumbers() });
let asked = false;
function changed() { if (!asked) { asked = true; requestAnimationFrame(draw); } }
function draw() {
  asked = false; controls.forEach((update) => update());
  const out = decode(inputs()); shown(out); if (byId("all-numbers").open) byId("numbers").textContent = numbers(out);
  drawPad(); drawMap(); history.replaceState(null, "", "#z=" + z.map((x) => Number(x.toFixed(4))).join(",") + (given.length ? "&given=" + given.join(",") : ""));
}
const numbers = (out) => JSON.stringify(Object.fromEntries(Object.entries(out).map(([key, x]) => [key, Array.from(x, (v) => Number(v.toPrecision(9)))])));
byId("all-numbers").addEventListener("toggle", changed);

const map = about.map, codes = map && decoded(map.codes, "f"), flat = map && decoded(map.places, "f");
const KINDS = ["#3b6ea8", "#d4711a", "#3a8f5c", "#b3435f", "#7b5cab", "#8d6a45", "#c267a3", "#4b8b95", "#a3a11f", "#5d6673"];
const where = (i, width) => [10 + (width - 20) * flat[2 * i], 310 - 300 * flat[2 * i + 1]];
function drawMap() {
  if (!map) return; byId("map-box").hidden = false;
  const [paint, width] = scene(byId("map"), 320); paint.globalAlpha = 0.7;
  for (let i = 0; i < map.count; i++) { const [x, y] = where(i, width); paint.fillStyle = map.groups ? KINDS[map.groups[i] % 10] : css("--real"); paint.beginPath(); paint.arc(x, y, 2.5, 0, 7); paint.fill(); }
  paint.globalAlpha = 1; const [x, y] = project(); spot(paint, 10 + (width - 20) * x, 310 - 300 * y);
}
function project() { return map.axes.map((axis) => axis.offset + z.reduce((sum, value, i) => sum + value * axis.weights[i], 0)); }
function nearest(event) {
  const box = byId("map").getBoundingClientRect(); let best = -1, least = 400;
  for (let i = 0; i < map.count; i++) { const [x, y] = where(i, box.width), far = (x - event.clientX + box.left) ** 2 + (y - event.clientY + box.top) ** 2; if (far < least) { least = far; best = i; } }
  return best;
}
if (map) {
  map.names.forEach((name, i) => { const entry = made("span", byId("map-names")); made("i", entry).style.background = KINDS[i % 10]; entry.append(name); });
  const words = (i) => (i < 0 ? "" : "row " + map.rows[i] + (map.groups ? ", " + map.names[map.groups[i]] : ""));
  byId("map").addEventListener("pointermove", (event) => { byId("map-words").textContent = words(nearest(event)); });
  byId("map").addEventListener("pointerdown", (event) => { const i = nearest(event); if (i >= 0) { for (let j = 0; j < z.length; j++) z[j] = codes[i * z.length + j]; settle(); if (map.given) given.splice(0, given.length, ...map.given[i]); changed(); } });
}

byId("reset").addEventListener("click", () => { about.latents.forEach((each) => { z[each.index] = each.start; }); settle(); changed(); });
// Random takes one of the draws from the prior that the page holds, or computes for what is given.
if (about.draws === null) byId("random").hidden = true;
const draws = typeof about.draws === "string" ? decoded(about.draws, "f") : null, drawsOf = about.draws && !draws ? functionOf(about.draws) : null;
byId("random").addEventListener("click", () => {
  const all = draws || drawsOf({ given: givenNumbers() }).draws, which = Math.floor(Math.random() * all.length / z.length);
  for (let j = 0; j < z.length; j++) z[j] = all[which * z.length + j]; changed();
});
const asked_numbers = (name) => { const found = new RegExp("[#&]" + name + "=([-0-9.,e]+)").exec(location.hash); return found ? found[1].split(",").map((text) => (text === "" ? NaN : Number(text))) : []; };
asked_numbers("z").slice(0, z.length).forEach((x, i) => { if (Number.isFinite(x)) z[i] = x; }); settle();
asked_numbers("given").slice(0, given.length).forEach((x, i) => { given[i] = cellOf(about.given[i], x); });
if (/[#&]numbers/.test(location.hash)) byId("all-numbers").open = true;
addEventListener("resize", changed); matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
draw();
