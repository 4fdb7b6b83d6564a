// What is shown of a latent vector: an image, curves, or a row.
const about = JSON.parse(document.getElementById("about").textContent), byId = (id) => document.getElementById(id);
const made = (tag, parent, text) => { const node = document.createElement(tag); if (text !== undefined) node.textContent = text; if (parent) parent.append(node); return node; };
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const short = (x) => (Number.isFinite(x) ? Number(x.toPrecision(5)).toString() : "not a number");
const shown = { image: showImage, curve: showCurve, table: showTable }[about.view.kind];
function showImage(out) {
  const { height, width, channels, low, high } = about.view, canvas = byId("image"), paint = canvas.getContext("2d");
  canvas.hidden = false; canvas.width = width; canvas.height = height;
  const pixels = paint.createImageData(width, height);
  for (let i = 0; i < height * width; i++) for (let c = 0; c < 4; c++)
    pixels.data[4 * i + c] = c === 3 ? (channels === 4 ? 255 * (out.mean[4 * i + 3] - low) / (high - low) : 255) : 255 * (out.mean[i * channels + (channels < 3 ? 0 : c)] - low) / (high - low);
  paint.putImageData(pixels, 0, 0);
}
function showCurve(out) {
  const box = byId("curve"), n = about.view.length, lines = about.view.lines; box.hidden = false;
  const low = Math.min(about.view.low, ...out.mean), high = Math.max(about.view.high, ...out.mean);
  box.replaceChildren();
  for (let line = 0; line < lines; line++) {
    const points = []; for (let i = 0; i < n; i++) points.push((600 * i / Math.max(1, n - 1)).toFixed(1) + "," + (195 - 190 * (out.mean[i * lines + line] - low) / (high - low || 1)).toFixed(1));
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "polyline"); drawn.setAttribute("points", points.join(" ")); box.append(drawn);
  }
}
const cells = [], MOST_BARS = 10;
// The probabilities of a column of categories; of many categories those of the likeliest ones, and of all others.
function likeliest(column, probabilities) {
  const all = column.categories.map((name, i) => ({ name, p: probabilities[column.start + i] }));
  if (all.length <= MOST_BARS) return all;
  const sorted = all.sort((a, b) => b.p - a.p), rest = sorted.slice(MOST_BARS - 1);
  return [...sorted.slice(0, MOST_BARS - 1), { name: rest.length + " others", p: rest.reduce((sum, each) => sum + each.p, 0) }];
}
const stepped = (x, relation) => (relation.step ? even(x / relation.step) * relation.units / relation.scale : x);
function predicted(relation, row) {
  const x = relation.parents.map((place) => row[place]);
  if (relation.form === "linear") return stepped(x.reduce((sum, value, k) => sum + value * relation.weights[k], 0) + relation.intercept, relation);
  if (relation.form === "product") return stepped(x.reduce((product, value, k) => product * value ** relation.powers[k], relation.factor), relation);
  const found = relation.table[x[0]]; return found === undefined || found === null ? NaN : stepped(found, relation);
}
// The numbers of a row in the units of the data; columns that follow from others are put together again.
function rowOf(mean) {
  const { columns, relations } = about.view, row = columns.map((column, place) => mean[place] + column.offset);
  relations.forEach((relation, k) => {
    const y = mean[columns.length + k], s = predicted(relation, row), x = relation.implied ? (y === 0 ? s : y - 1) : stepped(s + y, relation);
    if (Number.isFinite(x)) row[relation.child] = x;
  });
  return row;
}
function numberText(column, x) {
  if (column.what === "name") return column.categories[x] ?? "unknown";
  if (column.what === "date") { const time = new Date(Math.round(x * 86400000)); return Number.isNaN(time.getTime()) ? "no date" : column.step >= 1 ? new Date(Math.round(x) * 86400000).toISOString().slice(0, 10) : time.toISOString().replace("T", " ").slice(0, 16); }
  return column.step > 0 ? String(Number((Math.round(x / column.step) * column.step).toPrecision(12))) : short(x);
}
function showTable(out) {
  byId("table").hidden = false; const values = rowOf(out.mean);
  about.view.columns.forEach((column, place) => {
    if (!cells[place]) {
      const row = made("tr", byId("rows")); made("th", row, column.name).scope = "row"; const cell = made("td", row); cells[place] = { cell, bars: [] };
      const count = Math.min(column.categories.length, MOST_BARS);
      for (let i = 0; i < count && column.what !== "name"; i++) { const bar = made("div", cell); bar.className = "bar"; cells[place].bars.push([made("span", bar), made("i", bar), made("b", bar)]); }
    }
    if (!cells[place].bars.length) { cells[place].cell.textContent = numberText(column, values[place]); return; }
    const shares = likeliest(column, out.probabilities);
    cells[place].bars.forEach(([name, bar, text], i) => { const p = shares[i].p; name.textContent = shares[i].name; bar.style.width = (100 * p).toFixed(1) + "%"; text.textContent = (100 * p).toFixed(p < 0.0995 ? 1 : 0) + " %"; });
  });
}

