// Ask: what lies near a row, why it is odd, and what would be if some of its cells were different.
import { summaryOf, type App, type Marks } from "./app";
import { button, clip, h, labeled, percent, short, waiting } from "./dom";
import type { NdArray, Row, Share } from "./protocol";
import type { Tab } from "./tabs";
import { CurveView, heat, pictureCanvas, still } from "./things";
import { WhatIf } from "./whatif";
import { Dropped, messageOf } from "./wire";

const NEAR = 8;
const SHARES = 8;

interface Explained {
  score: number | null;
  percentile: number | null;
  shares?: Share[];
  arrays: Record<string, NdArray>;
}

export class AskTab implements Tab {
  readonly id = "ask";
  readonly name = "Ask";
  readonly node: HTMLElement;
  #row: number | null = null;
  #asked = false;
  #number = h("input", { type: "number", min: 0, step: 1, class: "number" });
  #problem = h("p", { class: "warning", role: "alert", hidden: true });
  #none = h("p", { class: "small" });
  #itself = h("div", { class: "itself" });
  #why = h("div");
  #near = h("div", { class: "near" });
  #parts: HTMLElement;
  #whatIf: WhatIf | null;

  constructor(
    private readonly app: App,
    private readonly marks: Marks,
  ) {
    this.#whatIf = app.can("whatif") ? new WhatIf(app, marks) : null;
    this.#number.max = String((app.about.num_rows ?? 1) - 1);
    this.#number.addEventListener("change", () => this.#pick());
    this.#parts = h("div", { hidden: true },
      this.#section("The row", this.#itself),
      app.can("explain") ? this.#section("Why it is odd", this.#why) : null,
      app.can("nearest") ? this.#section("Rows near it", this.#near) : null);
    const chooser = h("div", { class: "tools" }, labeled("row", this.#number), app.about.num_rows ? button("Random row", () => this.#random()) : null);
    this.node = h("div", {}, app.about.data ? chooser : null, this.#problem, this.#none, this.#parts, this.#whatIf?.node);
    this.#none.textContent = app.about.data
      ? "Choose a row: its number here, or a point on the map."
      : "No data was given, so there are no rows to ask about; what if starts from a row of which nothing is known.";
    app.store.on("row", () => this.seen());
  }

  #section(name: string, ...content: Element[]): HTMLElement {
    return h("section", { class: "part", "aria-label": name }, h("h2", {}, name), ...content);
  }

  seen(): void {
    const { row, tab } = this.app.store.state;
    if (tab !== this.id) return;
    const isShown = row !== null && !!this.app.about.data;
    this.#none.hidden = isShown;
    this.#parts.hidden = !isShown;
    if (this.#asked && row === this.#row) return;
    [this.#row, this.#asked] = [row, true];
    if (row !== null) this.#number.value = String(row);
    if (row !== null && this.app.about.data) void this.#load(row);
    else this.#whatIf?.start(null, null);
  }

  #pick(): void {
    const row = Number(this.#number.value);
    const most = (this.app.about.num_rows ?? 1) - 1;
    const good = this.#number.value !== "" && Number.isInteger(row) && row >= 0 && row <= most;
    this.#fail(good ? "" : `expected a row from 0 to ${most}, got ${clip(this.#number.value || "nothing", 20)}`);
    if (good) this.app.store.set({ row });
  }

  #random(): void {
    this.app.store.set({ row: Math.floor(Math.random() * (this.app.about.num_rows ?? 1)) });
  }

  #fail(message: string): void {
    this.#problem.textContent = message;
    this.#problem.hidden = !message;
  }

  async #load(row: number): Promise<void> {
    this.#fail("");
    this.marks.showNear([]);
    this.node.setAttribute("aria-busy", "true");
    try {
      const found = await this.app.rows.get(row);
      if (row !== this.#row) return;
      this.#itself.replaceChildren(still(found, `row ${row}`), h("p", { class: "small" }, summaryOf(found)));
      this.#why.replaceChildren(waiting());
      this.#near.replaceChildren(waiting());
      const near = this.#nearest(row);
      const why = this.#explain(row, found);
      this.#whatIf?.start(row, found);
      await Promise.all([near, why]);
    } catch (error) {
      if (error instanceof Dropped) this.#asked = false;
      else if (row === this.#row) this.#fail(messageOf(error));
    } finally {
      this.node.removeAttribute("aria-busy");
    }
  }

  async #explain(row: number, found: Row): Promise<void> {
    if (!this.app.can("explain")) return;
    const reply = await this.app.wire.ask<Explained>("explain", { index: row });
    if (row !== this.#row) return;
    const rank = reply.percentile === null || reply.percentile === undefined ? "" : `, higher than ${percent(reply.percentile / 100)} of the rows`;
    const head = h("p", {}, "Score ", h("b", {}, short(reply.score)), `${rank}. The higher, the more unusual.`);
    const map = reply.arrays.map;
    if (map && map.shape.length === 1) {
      const curve = new CurveView();
      curve.node.setAttribute("aria-label", "how odd each value is");
      curve.show({ values: Array.from(map.data), std: null });
      this.#why.replaceChildren(head, curve.node, h("p", { class: "small" }, "How much each value adds to the score, in nats."));
      return;
    }
    if (map) {
      const own = found.arrays.pixels ? pictureCanvas(found.arrays.pixels, 0, `row ${row}`) : null;
      this.#why.replaceChildren(head, h("div", { class: "heat" }, own, heat(map)), h("p", { class: "small" }, "Right: the pixels that add most to the score."));
      return;
    }
    this.#why.replaceChildren(head, ...sharesOf(reply.shares ?? []));
  }

  async #nearest(row: number): Promise<void> {
    if (!this.app.can("nearest")) return;
    const { rows } = await this.app.wire.ask<{ rows: { index: number; distance: number }[] }>("nearest", { index: row, k: NEAR });
    if (row !== this.#row) return;
    const others = rows.filter(({ index }) => index !== row);
    this.marks.showNear(others.map(({ index }) => index));
    if (this.app.about.data === "table") {
      await this.#compare(row, others);
      return;
    }
    this.#near.classList.toggle("pictures", this.app.about.data === "image");
    this.#near.replaceChildren(...others.map(({ index, distance }) => this.#neighbor(index, distance)));
  }

  // Rows under each other, so that a column can be read down; what differs from the row itself stands out.
  async #compare(row: number, others: { index: number; distance: number }[]): Promise<void> {
    const all = await Promise.all([row, ...others.map(({ index }) => index)].map((index) => this.app.rows.get(index)));
    if (row !== this.#row) return;
    const [own] = all.map((each) => each.cells ?? []);
    const lines = all.map(({ cells = [] }, i) => {
      const name = i ? this.#pin(others[i - 1].index) : `row ${row}`;
      const texts = cells.map((cell, j) => h("td", { class: cell.missing ? "missing" : i && cell.text !== own[j]?.text ? "changed" : null }, cell.missing ? "missing" : clip(cell.text, 40)));
      return h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, i ? short(others[i - 1].distance, 3) : ""), ...texts);
    });
    const head = h("tr", {}, h("td"), ...["distance", ...own.map((cell) => clip(cell.column, 40))].map((name) => h("th", { scope: "col" }, name)));
    const table = h("table", {}, h("thead", {}, head), h("tbody", {}, ...lines));
    this.#near.replaceChildren(h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "rows near it; scrolls sideways" }, table));
  }

  #pin(index: number): HTMLElement {
    return button(`row ${index}`, () => this.app.store.pin(index), { class: "quiet", title: "Pin this row" });
  }

  #neighbor(index: number, distance: number): HTMLElement {
    const shown = h("div", { class: "shown" });
    const pin = this.#pin(index);
    this.app.rows.get(index).then((found) => shown.append(still(found, `row ${index}`, 4)), () => undefined);
    return h("div", { class: "card" }, h("div", { class: "head" }, pin, h("span", { class: "small" }, `distance ${short(distance, 3)}`)), shown);
  }
}

/** Bars of the columns that make the row odd, the largest first; the shares of all columns sum to the score. */
function sharesOf(all: Share[]): HTMLElement[] {
  const shares = [...all].sort((a, b) => b.share - a.share);
  const most = Math.max(...shares.map((each) => Math.abs(each.share)), 1e-9);
  const bars = shares.slice(0, SHARES).map(({ column, share, text }) => {
    const fill = h("i");
    fill.style.width = `${(100 * Math.max(0, share)) / most}%`;
    const words = h("span", { class: "name" }, h("b", {}, clip(column, 60)), text ? ` ${clip(text, 160)}` : "");
    return h("div", { class: "share" }, words, h("span", { class: "value" }, short(share, 3)), h("span", { class: "track" }, fill));
  });
  const rest = shares.length - bars.length;
  return rest > 0 ? [...bars, h("p", { class: "small" }, `and ${rest} columns that add less`)] : bars;
}
