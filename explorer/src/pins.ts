// Pinned rows, under the map: each can be moved to, asked about, and let go.
import { summaryOf, type App } from "./app";
import { button, h } from "./dom";
import { still } from "./things";
import { Dropped, messageOf } from "./wire";

const CELLS = 4;

export class Pins {
  readonly node: HTMLElement;
  #list = h("ul", { class: "pins" });
  #none = h("p", { class: "small" }, "A click on a point pins its row here.");
  #cards = new Map<number, HTMLElement>();

  constructor(private readonly app: App) {
    this.node = h("section", { class: "pinned", "aria-label": "Pinned rows" }, h("h2", {}, "Pinned rows"), this.#none, this.#list);
    app.store.on("pins", () => this.#show());
    app.store.on("row", () => this.#mark());
    this.#show();
  }

  #show(): void {
    const { pins } = this.app.store.state;
    this.#none.hidden = pins.length > 0;
    for (const row of this.#cards.keys()) if (!pins.includes(row)) this.#cards.delete(row);
    for (const row of pins) if (!this.#cards.has(row)) this.#cards.set(row, this.#card(row));
    this.#list.replaceChildren(...pins.flatMap((row) => this.#cards.get(row) ?? []));
    this.#mark();
  }

  #mark(): void {
    for (const [row, card] of this.#cards) card.toggleAttribute("data-current", row === this.app.store.state.row);
  }

  #card(row: number): HTMLElement {
    const { app } = this;
    const [shown, words] = [h("div", { class: "shown" }), h("span", { class: "small" })];
    const move = async () => {
      const { code } = await app.rows.get(row);
      if (code) app.store.set({ z: code, row, tab: "move" });
    };
    const card = h("li", { class: "card" }, h("div", { class: "head" }, h("strong", {}, `row ${row}`), words), shown);
    const tools = h("div", { class: "tools" },
      app.can("decode") ? button("Move", () => void move().catch(() => undefined), { "aria-label": `Move to row ${row}` }) : null,
      button("Ask", () => app.store.set({ row, tab: "ask" }), { "aria-label": `Ask about row ${row}` }),
      button("×", () => app.store.unpin(row), { "aria-label": `Unpin row ${row}`, class: "square" }));
    card.append(tools);
    app.rows.get(row).then((found) => {
      shown.replaceChildren(still(found, `row ${row}`, CELLS));
      card.classList.toggle("slim", Boolean(found.arrays.pixels));
      words.textContent = summaryOf(found);
    }, (error) => {
      if (!(error instanceof Dropped)) words.textContent = messageOf(error);
    });
    return card;
  }
}
