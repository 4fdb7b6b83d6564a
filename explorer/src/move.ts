// Move: the code by hand, and what the decoder makes of it at once.
import type { App, Marks } from "./app";
import { codeOf, givenControls, middleButton, Pad, padded, pointOf, Sliders } from "./controls";
import { button, h, short } from "./dom";
import type { Decoded, Fields } from "./protocol";
import type { Tab } from "./tabs";
import { LiveThing } from "./things";
import { Traversals, Way } from "./ways";
import { Dropped, Latest, messageOf, type Reply } from "./wire";

export class MoveTab implements Tab {
  readonly id = "move";
  readonly name = "Move";
  readonly node: HTMLElement;
  #thing = new LiveThing();
  #words = h("p", { class: "small" });
  #problem = h("p", { class: "warning", role: "alert", hidden: true });
  #decode: Latest<Decoded>;
  #strips: Traversals;
  #way: Way;
  #waits = true;

  constructor(
    private readonly app: App,
    private readonly marks: Marks,
  ) {
    this.#decode = new Latest<Decoded>(app.wire, "decode", (reply, fields) => this.#show(reply, fields), (message) => this.#fail(message));
    this.#strips = new Traversals(app);
    this.#way = new Way(app, marks);
    const pad = padded(app).length > 1 ? new Pad(app).node : null;
    const isRow = (app.about.shown ?? app.about.data) === "table";
    const control = h("div", { class: "controls" },
      h("div", { class: "tools" }, middleButton(app), app.about.num_rows && app.can("row") ? button("Random row", () => void this.#random()) : null),
      givenControls(app),
      isRow ? pad : null,
      new Sliders(app).node);
    const seen = h("div", { class: "seen" }, this.#problem, this.#thing.node, this.#words);
    // Rows are long, pictures are not: the pad stands where there is space.
    const left = isRow ? seen : h("div", { class: "stack" }, seen, pad);
    this.node = h("div", {}, h("div", { class: "split" }, left, control), this.#strips.node, this.#way.node);
    app.store.on("z", () => this.decode());
    app.store.on("given", () => this.decode());
    void app.mapped.then(() => {
      this.#waits = false;
      this.decode();
    });
  }

  seen(): void {
    this.decode();
    this.#strips.soon();
    this.#way.soon();
  }

  // The marker on the map follows the code in every tab; the strips wait for the end of a drag.
  decode(): void {
    if (this.app.can("decode") && !this.#waits) this.#decode.ask({ ...pointOf(this.app) });
  }

  #show(reply: Reply<Decoded>, fields: Fields): void {
    this.#problem.hidden = true;
    this.#thing.show(reply);
    const inside = reply.log_prior === null || reply.log_prior === undefined ? "" : `log p(z) = ${short(reply.log_prior)}`;
    this.#words.textContent = inside;
    const asked = fields.z as number[];
    if (!asked.every((value, i) => value === codeOf(this.app)[i])) return;
    this.marks.showCode(reply.position);
    // The server moves vectors onto the space; the sliders show where.
    if (reply.z?.some((value, i) => Math.abs(value - asked[i]) > 1e-4 * (1 + Math.abs(value)))) this.app.store.set({ z: reply.z });
  }

  #fail(message: string): void {
    this.#problem.textContent = message;
    this.#problem.hidden = false;
  }

  async #random(): Promise<void> {
    const row = Math.floor(Math.random() * (this.app.about.num_rows ?? 1));
    try {
      const { code } = await this.app.rows.get(row);
      if (code) this.app.store.set({ z: code, row });
    } catch (error) {
      if (!(error instanceof Dropped)) this.#fail(messageOf(error));
    }
  }
}
