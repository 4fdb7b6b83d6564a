// A series of examples side by side: one latent dimension from low to high, or the way between two rows.
import { curveGrid, curveOf, picture, rangeOf } from "./things";
import { button, clip, css, h, save } from "./dom";
import type { Series } from "./protocol";

const TILE = 96;

function stepsOf(series: Series): number {
  if (series.arrays.pixels) return series.arrays.pixels.shape[0];
  if (series.arrays.values) return series.arrays.values.shape[0];
  return series.rows?.length ?? 0;
}

function cellsOf(series: Series): { name: string; texts: string[] }[] {
  return (series.columns ?? []).map((name, column) => ({ name, texts: (series.rows ?? []).map((row) => row[column] ?? "") }));
}

/** Pictures in one canvas, in their pixels. */
function pictures(series: Series): HTMLCanvasElement {
  const { pixels } = series.arrays;
  const [steps, height, width] = pixels.shape;
  const canvas = h("canvas", { class: "picture strip", width: steps * width, height, role: "img", "aria-label": `${steps} images, from the first to the last` });
  const paper = canvas.getContext("2d");
  for (let step = 0; step < steps; step++) paper?.putImageData(picture(pixels, step), step * width, 0);
  return canvas;
}

function table(series: Series, heads: string[]): HTMLElement {
  const all = cellsOf(series);
  const changing = all.filter(({ texts }) => new Set(texts).size > 1);
  if (!changing.length) return h("p", { class: "small" }, "No column's likeliest value changes along this way.");
  const body = changing.map(({ name, texts }) =>
    h("tr", {}, h("th", { scope: "row" }, clip(name, 40)), ...texts.map((text, i) => h("td", { class: i && text !== texts[i - 1] ? "changed" : null }, clip(text, 40)))));
  const head = h("tr", {}, h("td"), ...heads.map((each) => h("th", { scope: "col" }, each)));
  const same = all.length - changing.length;
  const box = h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "rows along the way; scrolls sideways" }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...body)));
  return h("div", {}, box, same ? h("p", { class: "small" }, `${same} other column${same === 1 ? " stays" : "s stay"} the same.`) : null);
}

/** Pictures are enlarged without smoothing; curves and cells are drawn anew. */
function painted(series: Series, heads: string[]): HTMLCanvasElement {
  const steps = stepsOf(series);
  const canvas = h("canvas");
  const paper = canvas.getContext("2d");
  if (!paper) return canvas;
  if (series.arrays.pixels) {
    const small = pictures(series);
    const times = Math.max(1, Math.round(TILE / small.height));
    [canvas.width, canvas.height] = [small.width * times, small.height * times];
    paper.imageSmoothingEnabled = false;
    paper.drawImage(small, 0, 0, canvas.width, canvas.height);
  } else if (series.arrays.values) {
    [canvas.width, canvas.height] = [2 * TILE * steps, TILE];
    paintCurves(paper, series, steps);
  } else paintCells(canvas, paper, series, heads);
  return canvas;
}

function paintCurves(paper: CanvasRenderingContext2D, series: Series, steps: number): void {
  paper.fillStyle = css("--card");
  paper.fillRect(0, 0, 2 * TILE * steps, TILE);
  paper.strokeStyle = css("--real");
  const [low, high] = rangeOf(series.arrays.values);
  for (let step = 0; step < steps; step++) {
    paper.beginPath();
    curveOf(series.arrays, step).values.forEach((value, i, all) =>
      paper.lineTo(2 * TILE * step + 4 + ((2 * TILE - 8) * i) / Math.max(1, all.length - 1), TILE - 4 - ((TILE - 8) * (value - low)) / (high - low || 1)));
    paper.stroke();
  }
}

function paintCells(canvas: HTMLCanvasElement, paper: CanvasRenderingContext2D, series: Series, heads: string[]): void {
  const rows = cellsOf(series).map(({ name, texts }) => [clip(name, 24), ...texts.map((text) => clip(text, 24))]);
  const lines = [["", ...heads], ...rows];
  const font = "13px system-ui, sans-serif";
  paper.font = font;
  const widths = lines[0].map((_, i) => Math.max(...lines.map((line) => paper.measureText(line[i] ?? "").width)) + 18);
  [canvas.width, canvas.height] = [Math.ceil(widths.reduce((a, b) => a + b, 10)), 22 * lines.length + 10];
  paper.fillStyle = css("--card");
  paper.fillRect(0, 0, canvas.width, canvas.height);
  paper.font = font;
  lines.forEach((line, row) => {
    let x = 10;
    line.forEach((text, i) => {
      paper.fillStyle = css(row && i ? "--ink" : "--muted");
      paper.fillText(text, x, 22 * row + 20);
      x += widths[i];
    });
  });
}

/** A strip with its title and its button; `heads` stand over the columns where the strip is a table. */
export function strip(series: Series, heads: string[], title: string, words: string): HTMLElement {
  const shown = series.arrays.pixels ? pictures(series) : series.arrays.values ? curveGrid(series.arrays, { class: "curves" }) : table(series, heads);
  const name = title.replace(/[^A-Za-z0-9]+/g, "-");
  const keep = () => painted(series, heads).toBlob((blob) => blob && save(`${name}.png`, blob), "image/png");
  const caption = h("figcaption", {}, h("span", {}, title), h("span", { class: "small" }, words), button("Save as PNG", keep, { class: "quiet" }));
  return h("figure", {}, caption, shown);
}
