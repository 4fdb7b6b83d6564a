// Rows chosen by the lasso, and their export.
import type { App } from "./app";
import { button, h, save } from "./dom";
import { Dropped, messageOf } from "./wire";

interface Exported {
  name: string;
  text: string;
  binary?: boolean;
}

export class Selection {
  readonly node = h("div", { class: "selection", role: "status", hidden: true });
  chosen = new Set<number>();
  #words = h("span");

  constructor(
    private readonly app: App,
    private readonly changed: () => void,
  ) {
    this.node.append(this.#words);
    if (app.can("export")) this.node.append(button("Export", () => void this.#export(), { class: "strong" }));
    this.node.append(button("Clear", () => this.choose([])));
  }

  choose(rows: number[]): void {
    if (!rows.length && !this.chosen.size) return;
    this.chosen = new Set(rows);
    this.#words.textContent = rows.length === 1 ? "1 row selected" : `${rows.length.toLocaleString("en-US")} rows selected`;
    this.node.hidden = !rows.length;
    this.changed();
  }

  async #export(): Promise<void> {
    try {
      const { name, text, binary } = await this.app.wire.ask<Exported>("export", { rows: [...this.chosen] });
      const content = binary ? Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)) : text;
      save(name, new Blob([content], { type: binary ? "application/octet-stream" : "text/csv" }));
    } catch (error) {
      if (!(error instanceof Dropped)) this.app.say(messageOf(error));
    }
  }
}
