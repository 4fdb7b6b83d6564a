// Showing an example: a picture, a curve, or the cells of a row. One view is updated in place at every change.
import { Distributions } from "./distributions";
import { clip, css, h, svg } from "./dom";
import type { Cell, NdArray, Thing } from "./protocol";

/** One of several pictures (steps, h, w, c), or the only one (h, w, c), as the canvas takes it. */
export function picture(pixels: NdArray, step = 0): ImageData {
  const [height, width, channels] = pixels.shape.slice(-3);
  const start = step * height * width * channels;
  const image = new ImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = pixels.data[start + i * channels + (channels < 3 ? 0 : c)];
    image.data[4 * i + 3] = 255;
  }
  return image;
}

export function pictureCanvas(pixels: NdArray, step = 0, label = "image"): HTMLCanvasElement {
  const canvas = h("canvas", { class: "picture", role: "img", "aria-label": clip(label, 200) });
  paintPicture(canvas, pixels, step);
  return canvas;
}

function paintPicture(canvas: HTMLCanvasElement, pixels: NdArray, step: number): void {
  const image = picture(pixels, step);
  if (canvas.width !== image.width) canvas.width = image.width;
  if (canvas.height !== image.height) canvas.height = image.height;
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

/** The values of one curve, and its standard deviations where the model gives them. */
export function curveOf(arrays: Record<string, NdArray>, step = 0): { values: number[]; std: number[] | null } {
  const length = arrays.values.shape.at(-1) ?? 0;
  const part = (array: NdArray) => Array.from(array.data.subarray(step * length, (step + 1) * length));
  return { values: part(arrays.values), std: arrays.std ? part(arrays.std) : null };
}

export class CurveView {
  readonly node = svg("svg", { class: "curve", viewBox: "0 0 600 200", role: "img", "aria-label": "curve", preserveAspectRatio: "none" });
  #band = svg("path", { class: "band" });
  #line = svg("polyline", { class: "line", "vector-effect": "non-scaling-stroke" });
  #low = Infinity;
  #high = -Infinity;

  constructor() {
    this.node.append(this.#band, this.#line);
  }

  /** Curves that stand side by side share their range. */
  within([low, high]: [low: number, high: number]): this {
    [this.#low, this.#high] = [low, high];
    return this;
  }

  // The range only grows, so that the picture does not jump while the user drags.
  show({ values, std }: { values: number[]; std: number[] | null }): void {
    const edge = (sign: number) => values.map((value, i) => value + sign * (std?.[i] ?? 0));
    this.#low = Math.min(this.#low, ...edge(-1));
    this.#high = Math.max(this.#high, ...edge(1));
    const span = this.#high - this.#low || 1;
    const place = (value: number, i: number) =>
      `${((600 * i) / Math.max(1, values.length - 1)).toFixed(1)},${(195 - (190 * (value - this.#low)) / span).toFixed(1)}`;
    this.#line.setAttribute("points", values.map(place).join(" "));
    const outline = std ? [...edge(1).map(place), ...edge(-1).map(place).reverse()] : [];
    this.#band.setAttribute("d", outline.length ? `M${outline.join("L")}Z` : "");
  }
}

export function rangeOf({ data }: NdArray): [low: number, high: number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of data) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return [low, high];
}

/** Curves side by side, from an array (steps, length). */
export function curveGrid(arrays: Record<string, NdArray>, props: Record<string, string>): HTMLElement {
  const range = rangeOf(arrays.values);
  const views = Array.from({ length: arrays.values.shape[0] }, (_, step) => {
    const view = new CurveView().within(range);
    view.show(curveOf(arrays, step));
    return view.node;
  });
  return h("div", props, ...views);
}

export function cellTable(cells: Cell[], most = Infinity): HTMLElement {
  const rows = cells.slice(0, most).map((cell) =>
    h("tr", {}, h("th", { scope: "row" }, clip(cell.column, 80)), h("td", { class: cell.missing ? "missing" : null }, cell.missing ? "missing" : clip(cell.text, 200))));
  const more = cells.length > most ? h("tr", {}, h("td", { colspan: 2, class: "small" }, `and ${cells.length - most} more columns`)) : null;
  return h("table", { class: "cells" }, h("tbody", {}, ...rows, more));
}

/** A still picture of any thing, small enough for a card. */
export function still(thing: Thing, label: string, mostCells = Infinity, step = 0): HTMLElement | SVGElement {
  if (thing.arrays.pixels) return pictureCanvas(thing.arrays.pixels, step, label);
  if (thing.arrays.values) {
    const view = new CurveView();
    view.node.setAttribute("aria-label", clip(label, 200));
    view.show(curveOf(thing.arrays, step));
    return view.node;
  }
  return cellTable(thing.cells ?? thing.columns?.map((each) => ({ column: each.name, text: each.text })) ?? [], mostCells);
}

/** What the decoder makes of the current code; follows a drag. */
export class LiveThing {
  readonly node = h("div", { class: "live" });
  #canvas = h("canvas", { class: "picture large", role: "img", "aria-label": "the decoded image" });
  #curve = new CurveView();
  #columns = new Distributions();

  show(thing: Thing): void {
    if (thing.arrays.pixels) {
      paintPicture(this.#canvas, thing.arrays.pixels, 0);
      this.#only(this.#canvas);
    } else if (thing.arrays.values) {
      this.#curve.show(curveOf(thing.arrays));
      this.#only(this.#curve.node);
    } else if (thing.columns) {
      this.#columns.show(thing.columns);
      this.#only(this.#columns.node);
    } else if (thing.cells) {
      this.node.replaceChildren(cellTable(thing.cells));
    }
  }

  #only(node: Element): void {
    if (this.node.firstChild !== node) this.node.replaceChildren(node);
  }
}

/** A heat map over an image: how much each pixel adds to the score. */
export function heat(map: NdArray): HTMLCanvasElement {
  const [height, width] = map.shape;
  const canvas = h("canvas", { class: "picture", width, height, role: "img", "aria-label": "which pixels are odd" });
  const most = Math.max(...map.data) || 1;
  const color = css("--made").replace("#", "");
  const [r, g, b] = [0, 2, 4].map((at) => parseInt(color.slice(at, at + 2), 16));
  const image = new ImageData(width, height);
  map.data.forEach((value, i) => image.data.set([r, g, b, Math.round((255 * Math.max(0, value)) / most)], 4 * i));
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}
