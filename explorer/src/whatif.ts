// What if: change a cell, and see the score and the distributions of the other cells at once.
import type { App, Marks } from "./app";
import { button, clip, h, percent, short, unique } from "./dom";
import { ColumnView } from "./distributions";
import type { Column, Distribution, Fields, Row } from "./protocol";
import { Latest } from "./wire";

const LONG_LIST = 60;

interface Answer {
  score: number | null;
  percentile?: number | null;
  position?: [number, number] | null;
  columns?: Distribution[];
  imputed?: Record<string, string>;
}

interface Entry {
  node: HTMLElement;
  /** The text of the cell, or null where it is unknown. */
  value(): string | null;
  set(text: string, missing: boolean): void;
  show(column: Distribution | undefined, imputed: string | undefined): void;
}

export class WhatIf {
  readonly node: HTMLElement;
  #entries = new Map<string, Entry>();
  #before = new Map<string, string | null>();
  #row: number | null = null;
  /** What is given of most rows: a column that is given cannot be unknown. */
  #usual: Map<string, string>;
  #base: number | null = null;
  /** The question about the row as it was, whose score the others are compared with. */
  #unchanged = "";
  #score = h("span", { class: "number", "data-score": "" }, "–");
  #words = h("span", { class: "small" });
  #problem = h("p", { class: "warning", role: "alert", hidden: true });
  #latest: Latest<Answer>;

  constructor(
    private readonly app: App,
    private readonly marks: Marks,
  ) {
    this.#usual = new Map((app.about.given ?? []).map((column) => [column.name, column.value ?? ""]));
    this.#latest = new Latest<Answer>(app.wire, "whatif", (answer, fields) => this.#show(answer, fields), (message) => this.#fail(message));
    for (const column of app.about.columns ?? []) this.#entries.set(column.name, this.#entry(column));
    const tools = h("div", { class: "tools" },
      button("As it was", () => this.#reset()),
      button("All unknown", () => this.#forget()));
    const result = h("div", { class: "result", role: "status" }, h("span", {}, "score "), this.#score, " ", this.#words);
    this.node = h("section", { class: "part whatif", "aria-label": "What if" }, h("h2", {}, "What if"),
      h("p", { class: "small" }, "Change a cell, or make it unknown: the score follows, and under each cell stands its distribution given the others."),
      tools, result, this.#problem, h("div", { class: "entries" }, ...[...this.#entries.values()].map((entry) => entry.node)));
  }

  start(row: number | null, found: Row | null): void {
    this.#row = row;
    this.#base = null;
    this.#score.textContent = "…";
    this.#words.textContent = "computing";
    this.#before = new Map((this.app.about.columns ?? []).map((column) => [column.name, this.#usual.get(column.name) ?? null]));
    for (const cell of found?.cells ?? []) if (this.#entries.has(cell.column)) this.#before.set(cell.column, cell.missing ? null : cell.text);
    this.#unchanged = this.#reset();
  }

  #reset(): string {
    for (const [name, text] of this.#before) this.#entries.get(name)?.set(text ?? "", text === null);
    return this.#ask();
  }

  #forget(): void {
    for (const entry of this.#entries.values()) entry.set("", true);
    this.#ask();
  }

  // Only what was changed is sent: the other cells stay as the data has them, to their last digit.
  #ask(): string {
    const cells: Record<string, string | null> = {};
    for (const [name, entry] of this.#entries) {
      const value = entry.value();
      if (this.#row === null ? value !== null : value !== this.#before.get(name)) cells[name] = value;
    }
    const fields = this.#row === null ? { cells } : { index: this.#row, cells };
    this.#latest.ask(fields);
    return JSON.stringify(fields);
  }

  #show(answer: Answer, fields: Fields): void {
    if ((fields.index ?? null) !== this.#row) return; // of the row before; the answer about this one is on its way
    this.#fail("");
    if (JSON.stringify(fields) === this.#unchanged) this.#base = answer.score;
    const change = answer.score !== null && this.#base !== null ? answer.score - this.#base : 0;
    this.#score.textContent = short(answer.score);
    const parts = [
      Math.abs(change) > 5e-4 ? `${short(Math.abs(change), 3)} ${change > 0 ? "more" : "less"} than before` : "",
      answer.percentile === null || answer.percentile === undefined ? "" : `higher than ${percent(answer.percentile / 100)} of the rows`,
    ];
    this.#words.textContent = parts.filter(Boolean).join(", ");
    const columns = new Map((answer.columns ?? []).map((each) => [each.name, each]));
    for (const [name, entry] of this.#entries) entry.show(columns.get(name), answer.imputed?.[name]);
    this.marks.showWhatIf(Math.abs(change) > 5e-4 ? answer.position : null);
  }

  #fail(message: string): void {
    this.#problem.textContent = message;
    this.#problem.hidden = !message;
  }

  #entry(column: Column): Entry {
    const id = unique("cell");
    const input = inputOf(column, id);
    const unknown = h("input", { type: "checkbox", "aria-label": `${clip(column.name, 60)} is unknown` });
    const below = h("div", { class: "below" });
    let view: ColumnView | null = null;
    const toggle = () => {
      input.disabled = unknown.checked;
      this.#ask();
    };
    input.addEventListener("input", () => this.#ask());
    unknown.addEventListener("change", toggle);
    const head = h("div", { class: "entry-head" }, h("label", { for: id }, clip(column.name, 60)), column.given ? null : h("label", { class: "unknown" }, unknown, h("span", {}, "unknown")));
    return {
      node: h("div", { class: "entry" }, head, input, below),
      value: () => (unknown.checked ? null : input.value),
      set: (text, missing) => {
        setValue(input, text);
        unknown.checked = missing && !column.given;
        input.disabled = unknown.checked;
      },
      show: (distribution, imputed) => {
        if (unknown.checked) input.setAttribute("placeholder", clip(imputed ?? "", 40));
        if (!distribution) return;
        if (view && view.shape === ColumnView.shapeOf(distribution)) view.show(distribution);
        else {
          view = new ColumnView(distribution);
          below.replaceChildren(view.node);
        }
      },
    };
  }
}

/** A short list of categories is a list; anything else is text, as in a file. */
function inputOf(column: Column, id: string): HTMLInputElement | HTMLSelectElement {
  const { categories } = column;
  if (categories && categories.length <= LONG_LIST) return h("select", { id }, ...categories.map((each) => h("option", { value: each }, clip(each, 60))));
  const hint = column.low !== null && column.low !== undefined ? `${short(column.low)} to ${short(column.high)}` : "";
  return h("input", { type: "text", id, autocomplete: "off", spellcheck: "false", title: [column.unit, hint].filter(Boolean).join(", ") });
}

/** A value that the list lacks gets an entry: what the data has must be shown as it is. */
function setValue(input: HTMLInputElement | HTMLSelectElement, text: string): void {
  if (input instanceof HTMLSelectElement && text && ![...input.options].some((option) => option.value === text)) input.append(h("option", { value: text }, clip(text, 60)));
  input.value = text;
}
