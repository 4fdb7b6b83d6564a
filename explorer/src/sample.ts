// Sample: new examples from the model, all of them or those with some columns fixed.
import type { App } from "./app";
import { button, choose, clip, h, labeled, save, waiting } from "./dom";
import type { Column, Series } from "./protocol";
import type { Tab } from "./tabs";
import { curveGrid, pictureCanvas } from "./things";
import { Dropped, messageOf } from "./wire";

export class SampleTab implements Tab {
  readonly id = "sample";
  readonly name = "Sample";
  readonly node: HTMLElement;
  #count = h("input", { type: "number", min: 1, max: 100, value: 12, class: "number" });
  #seed = h("input", { type: "number", min: 0, step: 1, value: 0, class: "number" });
  #where = h("div", { class: "where" });
  #problem = h("p", { class: "warning", role: "alert", hidden: true });
  #box = h("div", { class: "drawn", role: "status" });
  #conditions: { column: () => string; value: () => string }[] = [];
  #drawn = false;

  constructor(private readonly app: App) {
    const columns = app.about.columns ?? [];
    const add = columns.length ? button("Fix a column", () => this.#fix(columns)) : null;
    const again = () => {
      this.#seed.value = String(Number(this.#seed.value) + 1);
      void this.#draw();
    };
    const form = h("form", {},
      h("div", { class: "tools" }, labeled("how many", this.#count), labeled("seed", this.#seed), add),
      this.#where,
      h("div", { class: "tools" }, h("button", { type: "submit", class: "strong" }, "Draw"), button("Others", again, { title: "The next seed" })));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#draw();
    });
    this.node = h("div", {}, form, this.#problem, this.#box);
  }

  seen(): void {
    if (!this.#drawn) void this.#draw();
  }

  #fix(columns: Column[]): void {
    const value = h("span");
    let read = () => "";
    const show = (name: string) => {
      const categories = columns.find((each) => each.name === name)?.categories;
      const input = categories ? choose(categories.map((each) => [each, each]), categories[0], () => undefined) : h("input", { type: "text", "aria-label": "value", autocomplete: "off" });
      input.setAttribute("aria-label", `value of ${clip(name, 60)}`);
      read = () => input.value;
      value.replaceChildren(input);
    };
    const select = choose(columns.map((each) => [each.name, each.name]), columns[0].name, show);
    select.setAttribute("aria-label", "column");
    show(columns[0].name);
    const condition = { column: () => select.value, value: () => read() };
    const remove = button("×", () => {
      this.#conditions = this.#conditions.filter((each) => each !== condition);
      row.remove();
    }, { "aria-label": "Let this column free", class: "square" });
    const row = h("div", { class: "tools" }, select, h("span", {}, "="), value, remove);
    this.#conditions.push(condition);
    this.#where.append(row);
    select.focus();
  }

  async #draw(): Promise<void> {
    this.#drawn = true;
    this.node.setAttribute("aria-busy", "true");
    if (!this.#box.childElementCount) this.#box.replaceChildren(waiting());
    const where = this.#conditions.map(({ column, value }) => `${column()}=${value()}`);
    try {
      const reply = await this.app.wire.ask<Series>("sample", { n: Number(this.#count.value), seed: Number(this.#seed.value), where });
      this.#problem.hidden = true;
      const notes = (reply.notes ?? []).map((note) => h("p", { class: "small" }, clip(note, 400)));
      this.#box.replaceChildren(...notes, ...drawnOf(reply));
    } catch (error) {
      this.#drawn = !(error instanceof Dropped);
      this.#box.replaceChildren();
      this.#problem.textContent = messageOf(error);
      this.#problem.hidden = error instanceof Dropped;
    } finally {
      this.node.removeAttribute("aria-busy");
    }
  }
}

function drawnOf(reply: Series): HTMLElement[] {
  const { pixels, values } = reply.arrays;
  if (pixels) {
    const all = Array.from({ length: pixels.shape[0] }, (_, i) => pictureCanvas(pixels, i, `sample ${i + 1}`));
    return [h("div", { class: "gallery" }, ...all), button("Save as PNG", () => gallery(all), { class: "quiet" })];
  }
  if (values) return [curveGrid(reply.arrays, { class: "curves wide" })];
  const head = h("tr", {}, ...(reply.columns ?? []).map((name) => h("th", { scope: "col" }, clip(name, 40))));
  const body = (reply.rows ?? []).map((row) => h("tr", {}, ...row.map((text) => h("td", { class: text === null || text === "" ? "missing" : null }, text === null || text === "" ? "missing" : clip(text, 60)))));
  return [h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "sampled rows; scrolls sideways" }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...body)))];
}

function gallery(all: HTMLCanvasElement[]): void {
  const columns = Math.ceil(Math.sqrt(all.length));
  const [width, height] = [all[0].width, all[0].height];
  const times = Math.max(1, Math.round(64 / height));
  const canvas = h("canvas", { width: columns * width * times, height: Math.ceil(all.length / columns) * height * times });
  const paper = canvas.getContext("2d");
  if (!paper) return;
  paper.imageSmoothingEnabled = false;
  all.forEach((each, i) => paper.drawImage(each, (i % columns) * width * times, Math.floor(i / columns) * height * times, width * times, height * times));
  canvas.toBlob((blob) => blob && save("samples.png", blob), "image/png");
}
