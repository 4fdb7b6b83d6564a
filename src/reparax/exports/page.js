// The page: sliders, pad, map, and what the decoder makes of the latent vector that they choose.
const about = JSON.parse(document.getElementById("about").textContent);
const decode = decoderOf(about.graph), byId = (id) => document.getElementById(id);
const z = about.latents.map((each) => each.start), controls = [];
const made = (tag, parent, text) => { const node = document.createElement(tag); if (text !== undefined) node.textContent = text; if (parent) parent.append(node); return node; };
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const short = (x) => (Number.isFinite(x) ? Number(x.toPrecision(5)).toString() : "not a number");

function slider(latent, parent) {
  const box = made("div", parent), label = made("label", box, "z" + (latent.index + 1)), input = made("input", box), value = made("output", box);
  box.className = "slider"; made("small", label, latent.kl === null ? "" : "KL " + latent.kl.toFixed(2));
  Object.assign(input, { type: "range", min: latent.low, max: latent.high, step: (latent.high - latent.low) / 400, id: "z" + latent.index });
  label.htmlFor = input.id;
  input.addEventListener("input", () => { z[latent.index] = Number(input.value); changed(); });
  controls[latent.index] = () => { input.value = z[latent.index]; value.textContent = z[latent.index].toFixed(2); };
}
const order = about.order.map((index) => about.latents[index]), live = order.filter((each) => !each.dead), dead = order.filter((each) => each.dead);
live.forEach((each) => slider(each, byId("sliders")));
if (dead.length) { byId("dead").hidden = false; byId("dead-count").textContent = dead.length + " without information on the data"; dead.forEach((each) => slider(each, byId("dead-sliders"))); }

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
const rint = (x) => { const low = Math.floor(x), part = x - low; return part < 0.5 || (part === 0.5 && low % 2 === 0) ? low : low + 1; };
const stepped = (x, relation) => (relation.step ? rint(x / relation.step) * relation.units / relation.scale : x);
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
    cells[place].bars.forEach(([name, bar, text], i) => { const p = shares[i].p; name.textContent = shares[i].name; bar.style.width = (100 * p).toFixed(1) + "%"; text.textContent = (100 * p).toFixed(p < 0.1 ? 1 : 0) + " %"; });
  });
}

let asked = false;
function changed() { if (!asked) { asked = true; requestAnimationFrame(draw); } }
function draw() {
  asked = false; controls.forEach((update) => update());
  const out = decode(z); shown(out); if (byId("all-numbers").open) byId("numbers").textContent = numbers(out);
  drawPad(); drawMap(); history.replaceState(null, "", "#z=" + z.map((x) => Number(x.toFixed(4))).join(","));
}
const numbers = (out) => JSON.stringify(Object.fromEntries(Object.entries(out).map(([key, x]) => [key, Array.from(x, (v) => Number(v.toPrecision(9)))])));
byId("all-numbers").addEventListener("toggle", changed);

function scene(canvas, height) {
  const width = canvas.clientWidth || 300, scale = window.devicePixelRatio || 1, paint = canvas.getContext("2d");
  canvas.width = width * scale; canvas.height = height * scale; canvas.style.height = height + "px"; paint.scale(scale, scale); return [paint, width];
}
function spot(paint, x, y) { paint.beginPath(); paint.arc(x, y, 6, 0, 7); paint.fillStyle = css("--made"); paint.fill(); paint.lineWidth = 2; paint.strokeStyle = css("--card"); paint.stroke(); }
const axes = [byId("pad-x"), byId("pad-y")];
function drawPad() {
  if (live.length < 2) { byId("pad-box").hidden = true; return; }
  const [paint, width] = scene(byId("pad"), 220), [a, b] = axes.map((each) => about.latents[Number(each.value)]);
  paint.strokeStyle = css("--line"); paint.beginPath(); paint.moveTo(width / 2, 0); paint.lineTo(width / 2, 220); paint.moveTo(0, 110); paint.lineTo(width, 110); paint.stroke();
  spot(paint, width * (z[a.index] - a.low) / (a.high - a.low), 220 - 220 * (z[b.index] - b.low) / (b.high - b.low));
}
if (live.length >= 2) {
  axes.forEach((each, which) => { live.forEach((latent) => { made("option", each, "z" + (latent.index + 1)).value = latent.index; }); each.value = live[which].index; each.addEventListener("change", changed); });
  const put = (event) => {
    const box = byId("pad").getBoundingClientRect(), [a, b] = axes.map((each) => about.latents[Number(each.value)]);
    const part = (x) => Math.min(1, Math.max(0, x));
    z[a.index] = a.low + (a.high - a.low) * part((event.clientX - box.left) / box.width); z[b.index] = b.high - (b.high - b.low) * part((event.clientY - box.top) / box.height); changed();
  };
  byId("pad").addEventListener("pointerdown", (event) => { byId("pad").setPointerCapture(event.pointerId); put(event); });
  byId("pad").addEventListener("pointermove", (event) => { if (event.buttons) put(event); });
  byId("pad").addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1] }[event.key]; if (!move) return;
    event.preventDefault(); const latent = about.latents[Number(axes[move[0]].value)];
    z[latent.index] = Math.min(latent.high, Math.max(latent.low, z[latent.index] + move[1] * (latent.high - latent.low) / 40)); changed();
  });
}

const map = about.map, codes = map && decoded(map.codes, "f4"), flat = map && decoded(map.places, "f4");
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
  const words = (i) => (i < 0 ? "" : "row " + map.rows[i] + (map.groups ? ", " + map.names[map.groups[i]] : ""));
  byId("map").addEventListener("pointermove", (event) => { byId("map-words").textContent = words(nearest(event)); });
  byId("map").addEventListener("pointerdown", (event) => { const i = nearest(event); if (i >= 0) { for (let j = 0; j < z.length; j++) z[j] = codes[i * z.length + j]; changed(); } });
}

byId("reset").addEventListener("click", () => { about.latents.forEach((each) => { z[each.index] = each.start; }); changed(); });
byId("random").addEventListener("click", () => {
  about.latents.forEach((each) => { const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()); z[each.index] = Math.min(each.high, Math.max(each.low, each.start + each.spread * normal)); }); changed();
});
const asked_z = /[#&]z=([-0-9.,e]+)/.exec(location.hash);
if (asked_z) asked_z[1].split(",").slice(0, z.length).forEach((text, i) => { if (Number.isFinite(Number(text)) && text !== "") z[i] = Number(text); });
if (/[#&]numbers/.test(location.hash)) byId("all-numbers").open = true;
addEventListener("resize", changed); matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
draw();
