// Blind test: real rows and samples in mixed order. Who tells them apart better, the user or a classifier?
import type { App } from "./app";
import { button, h, labeled, percent, waiting } from "./dom";
import type { Series, Thing } from "./protocol";
import type { Tab } from "./tabs";
import { still } from "./things";
import { Dropped, messageOf } from "./wire";

interface Game extends Series {
  game: string;
}

interface Truth {
  truth: boolean[];
  right: number;
  classifier?: { accuracy: number | null; note?: string } | null;
}

const SIZES: [string, string][] = [["6", "6"], ["10", "10"], ["20", "20"]];

export class BlindTab implements Tab {
  readonly id = "blind";
  readonly name = "Blind test";
  readonly node: HTMLElement;
  #box = h("div", { class: "blind" });
  #result = h("div", { class: "result", role: "status" });
  #problem = h("p", { class: "warning", role: "alert", hidden: true });
  #answers: (boolean | null)[] = [];
  #items: HTMLElement[] = [];
  #game: Game["game"] = "";
  #total = { right: 0, of: 0 };
  #size = h("select", {}, ...SIZES.map(([value, text]) => h("option", { value }, text)));
  #submit = button("See the answers", () => void this.#answer(), { class: "strong", hidden: true });

  constructor(private readonly app: App) {
    this.#size.value = "10";
    const tools = h("div", { class: "tools" }, labeled("how many", this.#size), button("New round", () => void this.#start()));
    this.node = h("div", {},
      h("p", {}, "Some of these are of the data, the others were sampled from the model. Which ones are real?"),
      tools, this.#problem, this.#box, h("div", { class: "tools" }, this.#submit), this.#result);
  }

  seen(): void {
    if (!this.#items.length) void this.#start();
  }

  async #start(): Promise<void> {
    this.node.setAttribute("aria-busy", "true");
    if (!this.#items.length) this.#box.replaceChildren(waiting());
    try {
      const seed = Math.floor(Math.random() * 2 ** 31);
      const game = await this.app.wire.ask<Game>("blind", { seed, num: Number(this.#size.value) });
      this.#fail("");
      this.#game = game.game;
      this.#items = thingsOf(game).map((thing, i) => this.#item(thing, i));
      this.#answers = this.#items.map(() => null);
      this.#box.replaceChildren(...this.#items);
      this.#box.classList.toggle("pictures", !!game.arrays.pixels);
      this.#result.replaceChildren();
      this.#ready();
    } catch (error) {
      if (!this.#items.length) this.#box.replaceChildren();
      if (!(error instanceof Dropped)) this.#fail(messageOf(error));
    } finally {
      this.node.removeAttribute("aria-busy");
    }
  }

  #item({ thing, step }: { thing: Thing; step: number }, i: number): HTMLElement {
    const choice = (text: string, real: boolean) => {
      const input = h("input", { type: "radio", name: `item-${i}`, value: String(real) });
      input.addEventListener("change", () => {
        this.#answers[i] = real;
        this.#ready();
      });
      return h("label", {}, input, h("span", {}, text));
    };
    const choices = h("fieldset", {}, h("legend", { class: "hidden" }, `Item ${i + 1}`), choice("real", true), choice("made", false));
    return h("div", { class: "card item" }, still(thing, `item ${i + 1}`, Infinity, step), choices, h("span", { class: "truth" }));
  }

  #ready(): void {
    const left = this.#answers.filter((each) => each === null).length;
    this.#submit.hidden = !this.#items.length;
    this.#submit.disabled = left > 0;
    this.#submit.textContent = left ? `${left} to go` : "See the answers";
  }

  #fail(message: string): void {
    this.#problem.textContent = message;
    this.#problem.hidden = !message;
  }

  async #answer(): Promise<void> {
    this.#submit.disabled = true;
    this.#result.replaceChildren(waiting("The classifier plays too …"));
    try {
      const reply = await this.app.wire.ask<Truth>("answer", { game: this.#game, answers: this.#answers });
      reply.truth.forEach((real, i) => this.#reveal(this.#items[i], real, real === this.#answers[i]));
      this.#total = { right: this.#total.right + reply.right, of: this.#total.of + reply.truth.length };
      this.#show(reply);
    } catch (error) {
      this.#submit.disabled = false;
      this.#result.replaceChildren();
      if (!(error instanceof Dropped)) this.#fail(messageOf(error));
    }
  }

  #reveal(item: HTMLElement, real: boolean, right: boolean): void {
    const words = item.querySelector(".truth");
    if (words) words.textContent = `${right ? "✓" : "✗"} ${real ? "real" : "made"}`;
    item.classList.add(right ? "right" : "wrong");
    for (const input of item.querySelectorAll("input")) input.disabled = true;
  }

  #show({ right, truth, classifier }: Truth): void {
    const accuracy = classifier?.accuracy;
    const all = this.#total.of > truth.length ? h("p", { class: "small" }, `All rounds: ${this.#total.right} of ${this.#total.of}.`) : null;
    this.#result.replaceChildren(
      h("p", {}, "You: ", h("b", {}, `${right} of ${truth.length} right`), ". Guessing gets half of them."),
      accuracy === null || accuracy === undefined ? "" : h("p", {}, "A classifier: ", h("b", {}, `${percent(accuracy)} right`), "."),
      classifier?.note ? h("p", { class: "small" }, classifier.note) : "",
      all ?? "");
  }
}

function thingsOf({ arrays, columns = [], rows = [] }: Game): { thing: Thing; step: number }[] {
  const series = arrays.pixels ?? arrays.values;
  if (series) return Array.from({ length: series.shape[0] }, (_, step) => ({ thing: { arrays }, step }));
  return rows.map((row) => {
    const cells = columns.map((column, i) => ({ column, text: row[i] ?? "", missing: !row[i] }));
    return { thing: { cells, arrays: {} }, step: 0 };
  });
}
