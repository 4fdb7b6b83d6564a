// Move: the code by hand, and what the decoder makes of it at once.
import type { App, Marks } from "./app";
import { codeOf, middleButton, Pad, Sliders } from "./controls";
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

  constructor(
    private readonly app: App,
    private readonly marks: Marks,
  ) {
    this.#decode = new Latest<Decoded>(app.wire, "decode", (reply, fields) => this.#show(reply, fields), (message) => this.#fail(message));
    this.#strips = new Traversals(app);
    this.#way = new Way(app);
    const control = h("div", { class: "controls" },
      h("div", { class: "tools" }, middleButton(app), app.about.num_rows && app.can("row") ? button("Random row", () => void this.#random()) : null),
      app.about.latent.length > 1 ? new Pad(app).node : null,
      new Sliders(app).node);
    const seen = h("div", { class: "seen" }, this.#problem, this.#thing.node, this.#words);
    this.node = h("div", {}, h("div", { class: "split" }, seen, control), this.#strips.node, this.#way.node);
    app.store.on("z", () => this.decode());
  }

  seen(): void {
    this.decode();
    this.#strips.soon();
    this.#way.soon();
  }

  // The marker on the map follows the code in every tab; the strips wait for the end of a drag.
  decode(): void {
    if (this.app.can("decode")) this.#decode.ask({ z: codeOf(this.app) });
  }

  #show(reply: Reply<Decoded>, fields: Fields): void {
    this.#problem.hidden = true;
    this.#thing.show(reply);
    const inside = reply.log_prior === null || reply.log_prior === undefined ? "" : `log p(z) = ${short(reply.log_prior)}`;
    this.#words.textContent = inside;
    if ((fields.z as number[]).every((value, i) => value === codeOf(this.app)[i])) this.marks.showCode(reply.position);
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
