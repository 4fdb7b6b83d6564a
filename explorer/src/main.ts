// The page: connects, asks what the model is, and lays out the map beside the tabs.
import "./style.css";
import { Rows, type App, type Marks } from "./app";
import { AskTab } from "./ask";
import { BlindTab } from "./blind";
import { clip, h, short } from "./dom";
import { MapPanel } from "./map";
import { MoveTab } from "./move";
import { Pins } from "./pins";
import type { Description } from "./protocol";
import { SampleTab } from "./sample";
import { Store } from "./state";
import { tabs, type Tab } from "./tabs";
import { Wire, messageOf, type Connection } from "./wire";

const NO_MARKS: Marks = { showCode: () => undefined, showWhatIf: () => undefined, showNear: () => undefined, showWay: () => undefined };

class Page {
  #app = document.getElementById("app") ?? document.body;
  #notice = h("div", { class: "notice", role: "alert", hidden: true });
  #toast = h("div", { class: "toast", role: "status", hidden: true });
  #store = new Store();
  #wire = new Wire((state) => void this.#connection(state));
  #about: Description | null = null;
  #refresh: (() => void) | null = null;
  #timer = 0;

  start(): void {
    document.body.append(this.#notice, this.#toast);
    this.#wire.open();
  }

  async #connection(state: Connection): Promise<void> {
    if (state === "stopped") {
      this.#stopped();
      return;
    }
    this.#notice.hidden = true;
    try {
      const about = await this.#wire.ask<Description>("describe");
      const same = this.#about && JSON.stringify(this.#about) === JSON.stringify({ ...about });
      if (same) this.#refresh?.();
      else this.#build(about);
    } catch (error) {
      this.#tell("The explorer answered with an error.", messageOf(error));
    }
  }

  // A page cannot see why a connection was refused: the sentence covers both reasons.
  #stopped(): void {
    const command = this.#about?.command ?? "reparax explore MODEL DATA";
    if (this.#about) this.#tell("The explorer has stopped.", "Start it again with ", h("code", {}, command), ", and open the address that it prints.");
    else this.#tell("The explorer does not answer.", "It has stopped, or this address lacks its token. Start it with ", h("code", {}, command), ", and open the address that it prints.");
    if (!this.#about) this.#app.replaceChildren();
  }

  #tell(head: string, ...words: (string | Node)[]): void {
    this.#notice.replaceChildren(h("strong", {}, head), " ", ...words);
    this.#notice.hidden = false;
  }

  #say(message: string): void {
    this.#toast.textContent = message;
    this.#toast.hidden = false;
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => (this.#toast.hidden = true), 6000);
  }

  #build(about: Description): void {
    this.#about = about;
    const can = new Set(about.can ?? ["decode"]);
    const store = this.#store;
    let hasMap = () => {};
    const mapped = new Promise<void>((resolve) => (hasMap = resolve));
    const app: App = { wire: this.#wire, store, about, rows: new Rows(this.#wire), mapped, can: (op) => can.has(op), say: (message) => this.#say(message) };
    const colors = (about.colors ?? []).map((each) => each.id);
    if (!colors.includes(store.state.color)) store.set({ color: firstColor(about) });
    const map = about.map ? new MapPanel(app) : null;
    const move = new MoveTab(app, map ?? NO_MARKS);
    const all: Tab[] = [];
    if (app.can("decode")) all.push(move);
    if ((about.data && app.can("row")) || app.can("whatif")) all.push(new AskTab(app, map ?? NO_MARKS));
    if (app.can("sample")) all.push(new SampleTab(app));
    if (app.can("blind")) all.push(new BlindTab(app));
    const left = map ? h("div", { class: "left" }, map.node, app.can("row") ? new Pins(app).node : null) : h("div", { class: "left" }, noMap(about));
    const main = h("main", { class: map ? "with-map" : "without-map" }, left, all.length ? tabs(app, all) : null);
    this.#app.replaceChildren(header(about), main, footer(about));
    document.title = `${clip(about.model.title, 60)} · reparax explore`;
    this.#refresh = () => {
      void Promise.resolve(map?.load()).then(hasMap);
      move.decode();
    };
    this.#refresh();
  }
}

/** Labels, or else some category, tell most; scores take a while to compute. */
function firstColor({ colors = [] }: Description): string {
  const first = colors.find((each) => each.id === "label") ?? colors.find((each) => each.kind === "category") ?? colors[0];
  return first?.id ?? "";
}

function header(about: Description): HTMLElement {
  const { title, summary, bound } = about.model;
  const error = bound?.standard_error === null || bound?.standard_error === undefined ? "" : ` ± ${short(bound.standard_error, 2)}`;
  const words = bound ? h("p", { class: "bound" }, h("b", {}, short(bound.value, 5) + error), ` ${bound.unit}${bound.of ? ` on ${bound.of}` : ""}`) : null;
  return h("header", {}, h("div", {}, h("h1", {}, clip(title, 120)), summary ? h("p", { class: "lead" }, clip([about.model.data?.split(/[/\\]/).pop(), summary].filter(Boolean).join(" · "), 400)) : null), words);
}

function noMap(about: Description): HTMLElement {
  const why = about.reasons?.map;
  const words = about.data
    ? h("p", {}, why ? clip(why, 400) : "This model has no map.")
    : h("p", {}, "No data was given, so there is no map. Give the file with the rows too: ", h("code", {}, about.command ? `${about.command} DATA` : "reparax explore MODEL DATA"));
  return h("section", { class: "map empty", "aria-label": "Map" }, h("h2", {}, "Map"), words);
}

/** What this model cannot do, and why: absent things are named, not hidden. */
function footer(about: Description): HTMLElement {
  const reasons = Object.entries(about.reasons ?? {}).filter(([op]) => op !== "map" || about.map);
  const version = about.model.version ? `reparax ${about.model.version}` : "";
  const whys = [...new Set(reasons.map(([, why]) => why))];
  const list = whys.map((why) => h("li", {}, h("b", {}, reasons.filter(([, each]) => each === why).map(([op]) => clip(op, 30)).join(", ")), `: ${clip(why, 300)}`));
  const missing = list.length ? h("details", {}, h("summary", {}, "What is not here, and why"), h("ul", {}, ...list)) : null;
  return h("footer", {}, missing, h("p", { class: "small" }, version));
}

new Page().start();
