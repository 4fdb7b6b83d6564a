// The card beside a point: the row or its image, at once where it was seen before.
import { summaryOf, type App } from "./app";
import { h } from "./dom";
import type { Point } from "./points";
import { still } from "./things";
import { Dropped, messageOf } from "./wire";

const CELLS = 7;

export class HoverCard {
  #card = h("div", { class: "card hover", "aria-hidden": "true", hidden: true });
  #aloud = h("p", { class: "hidden", role: "status" });
  #row: number | null = null;
  #asking = false;
  #at: Point = [0, 0];

  constructor(
    private readonly app: App,
    private readonly box: HTMLElement,
  ) {
    box.append(this.#card, this.#aloud);
  }

  hide(): void {
    this.#row = null;
    this.#card.hidden = true;
  }

  show(row: number, at: Point): void {
    const same = row === this.#row;
    this.#row = row;
    if (!same && this.#card.hidden) this.#card.replaceChildren(h("strong", {}, `row ${row}`));
    this.#card.hidden = false;
    this.#at = at;
    this.#put(at);
    if (!same && !this.#asking) void this.#ask();
  }

  // One request at a time; what the pointer left meanwhile is not asked for.
  async #ask(): Promise<void> {
    this.#asking = true;
    let shown: number | null = null;
    while (this.#row !== null && this.#row !== shown) {
      const row: number = this.#row;
      shown = row;
      await this.#fill(row);
      if (this.#row === row) this.#put(this.#at);
    }
    this.#asking = false;
  }

  async #fill(row: number): Promise<void> {
    try {
      const found = await this.app.rows.get(row);
      const words = summaryOf(found);
      this.#card.replaceChildren(h("strong", {}, `row ${row}`), still(found, `row ${row}`, CELLS), h("div", { class: "small" }, words));
      const cells = (found.cells ?? []).slice(0, 3).map((cell) => `${cell.column} ${cell.text}`.slice(0, 80));
      this.#aloud.textContent = [`row ${row}`, words, ...cells].filter(Boolean).join(", ");
    } catch (error) {
      if (!(error instanceof Dropped)) this.#card.replaceChildren(h("strong", {}, `row ${row}`), h("p", { class: "small" }, messageOf(error)));
    }
  }

  // On the side of the point that has more space, inside the map.
  #put([x, y]: Point): void {
    const { clientWidth, clientHeight } = this.box;
    const { offsetWidth, offsetHeight } = this.#card;
    const left = x > clientWidth / 2 ? x - offsetWidth - 14 : x + 14;
    const top = Math.max(4, Math.min(clientHeight - offsetHeight - 4, y - offsetHeight / 2));
    this.#card.style.transform = `translate(${Math.max(4, Math.min(clientWidth - offsetWidth - 4, left))}px, ${top}px)`;
  }
}
