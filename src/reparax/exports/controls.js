// What a person moves: a slider for each latent dimension, a control for each given column, and the pad.
const z = about.latents.map((each) => each.start), given = about.given.map((each) => each.start), controls = [];
// Moves z onto the latent space: to whole numbers, one-hot vectors, proportions, the unit sphere or the unit ball; the moved number stays.
const EDGE = 1 - 1e-5;
function settle(moved) {
  const limit = { simplex: 1, sphere: 1, ball: EDGE }[about.space], power = about.space === "simplex" ? 1 : 2;
  const others = z.map((_, i) => i).filter((i) => i !== moved), sum = (places) => places.reduce((total, i) => total + Math.abs(z[i]) ** power, 0);
  if (limit !== undefined && moved !== undefined) z[moved] = Math.min(limit, Math.max(-limit, z[moved]));
  if (about.space === "binary") z.forEach((x, i) => { z[i] = x > 0.5 ? 1 : 0; });
  if (about.space === "count") z.forEach((x, i) => { z[i] = Math.max(0, Math.round(x)); });
  about.choices.forEach(({ start, count }) => { const part = z.slice(start, start + count), best = part.indexOf(Math.max(...part)); part.forEach((_, i) => { z[start + i] = +(i === best); }); });
  if (limit === undefined || (about.space === "ball" && sum(others) + (moved === undefined ? 0 : z[moved] ** 2) <= limit ** 2)) return;
  if (about.space === "simplex") z.forEach((x, i) => { z[i] = Math.min(1, Math.max(1e-6, x)); });
  const left = Math.max(0, limit ** power - (moved === undefined ? 0 : Math.abs(z[moved]) ** power));
  if (sum(others) < 1e-12 && others.length) z[others[0]] = 1e-3;
  const scale = (left / sum(others)) ** (1 / power); others.forEach((i) => { z[i] *= scale; });
  if (!others.length) z[moved] = about.space === "simplex" ? 1 : Math.sign(z[moved] || 1) * limit;
}
function choice({ name, start, count, names }, place) {
  const box = made("div", byId("sliders")), label = made("label", box, name), select = made("select", box); box.className = "slider choice";
  names.forEach((each, i) => { made("option", select, each).value = i; }); label.htmlFor = select.id = "choice" + place;
  select.addEventListener("input", () => { for (let i = 0; i < count; i++) z[start + i] = +(i === Number(select.value)); changed(); });
  controls.push(() => { select.value = z.slice(start, start + count).indexOf(1); });
}
settle();
about.choices.forEach(choice);
function slider(latent, parent) {
  const box = made("div", parent), label = made("label", box, "z" + (latent.index + 1)), input = made("input", box), value = made("output", box);
  box.className = "slider"; made("small", label, latent.kl === null ? "" : "KL " + latent.kl.toFixed(2));
  Object.assign(input, { type: "range", min: latent.low, max: latent.high, step: latent.step || (latent.high - latent.low) / 400, id: "z" + latent.index });
  label.htmlFor = input.id;
  input.addEventListener("input", () => { z[latent.index] = Number(input.value); settle(latent.index); changed(); });
  controls.push(() => { input.value = z[latent.index]; value.textContent = z[latent.index].toFixed(2); });
}
const order = about.order.map((index) => about.latents[index]), live = order.filter((each) => !each.dead), dead = order.filter((each) => each.dead);
live.forEach((each) => slider(each, byId("sliders")));
if (dead.length) { byId("dead").hidden = false; byId("dead-count").textContent = dead.length + " without information on the data"; dead.forEach((each) => slider(each, byId("dead-sliders"))); }


// A given cell within its range, as a multiple of the step of its column; the usual one if it cannot be read.
function cellOf(column, x) {
  if (!Number.isFinite(x)) return column.start;
  const inside = Math.min(column.high, Math.max(column.low, x));
  return column.step > 0 || column.what === "category" ? Number((Math.round(inside / (column.step || 1)) * (column.step || 1)).toPrecision(15)) : inside;
}
// The codes of categories: of numbers in ascending order, else the most frequent first.
function inOrder(categories) {
  const codes = categories.map((_, code) => code);
  return categories.every((name) => name !== "" && Number.isFinite(Number(name))) ? codes.sort((a, b) => Number(categories[a]) - Number(categories[b])) : codes;
}
function givenControl(column, place) {
  const box = made("div", byId("given")), label = made("label", box, column.name); box.className = "given";
  const listen = (input, kind) => input.addEventListener(kind, () => { if (input.value !== "") given[place] = cellOf(column, Number(input.value)); changed(); });
  if (column.what === "category") {
    const select = made("select", box); inOrder(column.categories).forEach((code) => { made("option", select, column.categories[code]).value = code; });
    label.htmlFor = select.id = "given" + place; listen(select, "input"); controls.push(() => { select.value = given[place]; }); return;
  }
  const range = made("input", box), field = made(column.what === "date" ? "output" : "input", box), wide = (column.high - column.low) / 400;
  const step = column.step > 0 ? column.step * Math.max(1, Math.ceil(wide / column.step / 2)) : wide || 1;
  Object.assign(range, { type: "range", min: column.low, max: column.high, step, id: "given" + place }); label.htmlFor = range.id; listen(range, "input");
  if (column.what === "date") { controls.push(() => { range.value = given[place]; field.textContent = numberText(column, given[place]); range.setAttribute("aria-valuetext", field.textContent); }); return; }
  Object.assign(field, { type: "number", min: column.low, max: column.high, step: "any" }); field.setAttribute("aria-label", column.name); listen(field, "change");
  controls.push(() => { range.value = given[place]; if (document.activeElement !== field || Number(field.value) !== given[place]) field.value = Number(given[place].toPrecision(6)); });
}
if (given.length) { byId("given").hidden = false; about.given.forEach(givenControl); }
const givenNumbers = () => given.map((cell, place) => cell - about.given[place].offset);

function scene(canvas, height) {
  const width = canvas.clientWidth || 300, scale = window.devicePixelRatio || 1, paint = canvas.getContext("2d");
  canvas.width = width * scale; canvas.height = height * scale; canvas.style.height = height + "px"; paint.scale(scale, scale); return [paint, width];
}
function spot(paint, x, y) { paint.beginPath(); paint.arc(x, y, 6, 0, 7); paint.fillStyle = css("--made"); paint.fill(); paint.lineWidth = 2; paint.strokeStyle = css("--ink"); paint.stroke(); }
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
    z[a.index] = a.low + (a.high - a.low) * part((event.clientX - box.left) / box.width); z[b.index] = b.high - (b.high - b.low) * part((event.clientY - box.top) / box.height); settle(b.index); changed();
  };
  byId("pad").addEventListener("pointerdown", (event) => { byId("pad").setPointerCapture(event.pointerId); put(event); });
  byId("pad").addEventListener("pointermove", (event) => { if (event.buttons) put(event); });
  byId("pad").addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1] }[event.key]; if (!move) return;
    event.preventDefault(); const latent = about.latents[Number(axes[move[0]].value)];
    z[latent.index] = Math.min(latent.high, Math.max(latent.low, z[latent.index] + move[1] * (latent.step || (latent.high - latent.low) / 40))); settle(latent.index); changed();
  });
}

