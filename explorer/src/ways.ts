// Strips of examples under the sliders: one dimension at a time, and the way between two rows.
import type { App, Marks } from "./app";
import { pointOf } from "./controls";
import { choose, h, labeled, short } from "./dom";
import type { Series } from "./protocol";
import { strip } from "./strips";
import { Dropped, messageOf } from "./wire";

const STRIPS = 6;
const STEPS = 9;
const STEPS_OF_ROWS = 5;
const SETTLED = 350;

/** Rows are read, not looked at: fewer fit side by side. */
function stepsOf(app: App): number {
  return app.about.shown === "table" || app.about.data === "table" ? STEPS_OF_ROWS : STEPS;
}

/** Work that waits until nothing has changed for a moment, one at a time. */
class Settled {
  #timer = 0;
  #busy = false;
  #again = false;

  constructor(private readonly work: () => Promise<void>) {}

  soon(): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#run(), SETTLED);
  }

  async #run(): Promise<void> {
    this.#again = this.#busy;
    if (this.#busy) return;
    this.#busy = true;
    try {
      await this.work();
    } finally {
      this.#busy = false;
      if (this.#again) this.soon();
    }
  }
}

/** One strip a dimension: the others stay where they are. */
export class Traversals {
  readonly node: HTMLElement;
  #box = h("div", { class: "strips" });
  #which = "all";
  #later = new Settled(() => this.#load());
  #key = "";

  constructor(private readonly app: App) {
    const live = app.about.latent.filter((each) => !each.dead).sort((a, b) => (b.kl ?? 0) - (a.kl ?? 0));
    const all = live.length ? live : app.about.latent;
    const names: [string, string][] = [["all", `the first ${Math.min(STRIPS, all.length)}`], ...all.map((each): [string, string] => [String(each.index), each.name])];
    this.#which = all.length > 1 && stepsOf(app) === STEPS ? "all" : String(all[0]?.index);
    const select = choose(all.length > 1 ? names : names.slice(1), this.#which, (value) => {
      this.#which = value;
      this.soon();
    });
    this.node = h("section", { class: "part", "aria-label": "Strips" }, h("h2", {}, "One dimension at a time"), h("div", { class: "tools" }, labeled("dimensions", select)), this.#box);
    this.node.hidden = !app.can("strip");
    app.store.on("z", () => this.soon());
    app.store.on("given", () => this.soon());
  }

  soon(): void {
    if (this.app.can("strip") && this.app.store.state.tab === "move") this.#later.soon();
  }

  #chosen(): { index: number; name: string }[] {
    const live = this.app.about.latent.filter((each) => !each.dead).sort((a, b) => (b.kl ?? 0) - (a.kl ?? 0));
    const all = live.length ? live : this.app.about.latent;
    return this.#which === "all" ? all.slice(0, STRIPS) : this.app.about.latent.filter((each) => String(each.index) === this.#which);
  }

  async #load(): Promise<void> {
    const point = pointOf(this.app);
    const key = JSON.stringify([point, this.#which]);
    if (key === this.#key) return;
    const parts: HTMLElement[] = [];
    try {
      for (const { index, name } of this.#chosen()) {
        const reply = await this.app.wire.ask<Series & { values: number[] }>("strip", { ...point, dim: index, steps: stepsOf(this.app) });
        const heads = (reply.values).map((value) => short(value, 3));
        parts.push(strip(reply, heads, name, `${heads[0]} to ${heads[heads.length - 1]}`));
      }
      this.#key = key;
      this.#box.replaceChildren(...parts);
    } catch (error) {
      if (!(error instanceof Dropped)) this.#box.replaceChildren(h("p", { class: "warning" }, messageOf(error)));
    }
  }
}

/** The way between two pinned rows: a line, a great circle or a geodesic, as the space has it. */
export class Way {
  readonly node: HTMLElement;
  #box = h("div", { class: "strips" });
  #choices = h("div", { class: "tools" });
  #ends: [number, number] | null = null;
  #later = new Settled(() => this.#load());

  constructor(
    private readonly app: App,
    private readonly marks: Marks,
  ) {
    this.node = h("section", { class: "part", "aria-label": "Way between two rows" }, h("h2", {}, "The way between two rows"), this.#choices, this.#box);
    this.node.hidden = !app.can("path") || !app.about.data;
    app.store.on("pins", () => this.#choose());
    this.#choose();
  }

  soon(): void {
    if (!this.node.hidden && this.app.store.state.tab === "move") this.#later.soon();
  }

  #choose(): void {
    const { pins } = this.app.store.state;
    if (pins.length < 2) {
      this.#ends = null;
      this.marks.showWay([]);
      this.#choices.replaceChildren();
      this.#box.replaceChildren(h("p", { class: "small" }, "Pin two rows on the map (a click, or Enter on a point) to see the way from one to the other."));
      return;
    }
    const [from, to] = this.#ends?.every((row) => pins.includes(row)) ? this.#ends : [pins[pins.length - 2], pins[pins.length - 1]];
    this.#ends = [from, to];
    const names = pins.map((row): [string, string] => [String(row), `row ${row}`]);
    const pick = (end: 0 | 1) => choose(names, String(this.#ends?.[end]), (row) => {
      if (this.#ends) this.#ends[end] = Number(row);
      this.soon();
    });
    this.#choices.replaceChildren(labeled("from", pick(0)), labeled("to", pick(1)));
    this.soon();
  }

  async #load(): Promise<void> {
    if (!this.#ends) return;
    const [from, to] = this.#ends;
    const { given } = pointOf(this.app);
    const steps = stepsOf(this.app);
    try {
      const reply = await this.app.wire.ask<Series & { kind_of_path?: string; length?: number; positions?: [number, number][] }>("path", { from, to, steps, ...(given ? { given } : {}) });
      if (this.#ends?.[0] !== from || this.#ends[1] !== to) return;
      this.marks.showWay(reply.positions ?? []);
      const heads = Array.from({ length: steps }, (_, i) => (i === 0 ? `row ${from}` : i === steps - 1 ? `row ${to}` : `${Math.round((100 * i) / (steps - 1))} %`));
      const words = `${reply.kind_of_path ?? "way"} of length ${short(reply.length)}`;
      this.#box.replaceChildren(strip(reply, heads, `row ${from} to row ${to}`, words));
    } catch (error) {
      if (!(error instanceof Dropped)) this.#box.replaceChildren(h("p", { class: "warning" }, messageOf(error)));
    }
  }
}
