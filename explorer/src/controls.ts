// The controls of the code: a slider for each latent dimension and a pad for two at once.
import type { App } from "./app";
import { button, choose, clip, h, labeled, short, unique } from "./dom";
import type { Latent } from "./protocol";

const STEPS = 400;

/** The code that is shown, or the middle where the link has none that fits. */
export function codeOf(app: App): number[] {
  const { latent } = app.about;
  const { z } = app.store.state;
  return z.length === latent.length ? z : latent.map((each) => each.mean);
}

/** Points of a sphere have length one, those of a ball less: the other coordinates give way to the one that moved. */
export function onSpace(space: string | undefined, z: number[], moved: number[]): number[] {
  if (space !== "sphere" && space !== "ball") return z;
  const most = space === "ball" ? 0.98 : 1;
  const square = (indices: number[]) => indices.reduce((sum, i) => sum + z[i] ** 2, 0);
  const others = z.map((_, i) => i).filter((i) => !moved.includes(i));
  const own = square(moved);
  const shrink = own > most ** 2 ? most / Math.sqrt(own) : 1;
  const left = Math.max(0, most ** 2 - own * shrink ** 2);
  const rest = square(others);
  if (space === "ball" && rest <= left && shrink === 1) return z;
  const factor = rest > 0 ? Math.sqrt(left / rest) : 0;
  const fill = rest > 0 || !others.length ? 0 : Math.sqrt(left / others.length);
  return z.map((value, i) => (moved.includes(i) ? value * shrink : space === "sphere" && rest === 0 ? fill : value * factor));
}

export class Sliders {
  readonly node = h("div", { class: "sliders" });
  #shown = new Map<number, (value: number) => unknown>();

  constructor(private readonly app: App) {
    const order = [...app.about.latent].sort((a, b) => (b.kl ?? 0) - (a.kl ?? 0));
    const plain = order.filter((each) => each.group === undefined);
    const dead = plain.filter((each) => each.dead);
    const groups = new Set(app.about.latent.flatMap((each) => (each.group === undefined ? [] : [each.group])));
    this.node.append(...[...groups].map((group) => this.#group(group)), ...plain.filter((each) => !each.dead).map((each) => this.#slider(each)));
    if (dead.length) {
      const words = `${dead.length} ${dead.length === 1 ? "dimension" : "dimensions"} without information on the data`;
      this.node.append(h("details", { class: "dead" }, h("summary", {}, words), ...dead.map((each) => this.#slider(each))));
    }
    this.show();
    app.store.on("z", () => this.show());
  }

  #slider(latent: Latent): HTMLElement {
    const id = unique("slider");
    const step = latent.kind === "binary" ? 1 : (latent.high - latent.low) / STEPS;
    const input = h("input", { type: "range", id, min: latent.low, max: latent.high, step });
    const value = h("output", { for: id });
    const words = latent.kl === null ? "" : `KL ${latent.kl.toFixed(2)}`;
    input.addEventListener("input", () => {
      const z = codeOf(this.app).slice();
      z[latent.index] = Number(input.value);
      this.app.store.set({ z: onSpace(this.app.about.space, z, [latent.index]) });
    });
    this.#shown.set(latent.index, (now) => {
      if (document.activeElement !== input || Math.abs(Number(input.value) - now) > step) input.value = String(now);
      const text = now.toFixed(2);
      if (value.textContent !== text) value.textContent = text;
    });
    return h("div", { class: "slider" }, h("label", { for: id }, clip(latent.name, 16), h("small", {}, words)), input, value);
  }

  // A one-hot vector is a choice, not several sliders.
  #group(group: number): HTMLElement {
    const members = this.app.about.latent.filter((each) => each.group === group);
    const select = choose(members.map((each) => [String(each.index), each.name]), "", (chosen) => {
      const z = codeOf(this.app).slice();
      for (const { index } of members) z[index] = Number(index === Number(chosen));
      this.app.store.set({ z });
    });
    for (const { index } of members) this.#shown.set(index, (now) => now > 0.5 && (select.value = String(index)));
    return h("div", { class: "tools" }, labeled(members.map((each) => each.name.split(" = ")[0])[0], select));
  }

  show(): void {
    codeOf(this.app).forEach((value, index) => this.#shown.get(index)?.(value));
  }
}

/** The dimensions that a pad can move: one-hot vectors are chosen, not dragged. */
export function padded(app: App): Latent[] {
  return app.about.latent.filter((each) => each.group === undefined);
}

export class Pad {
  readonly node: HTMLElement;
  #lines = [h("div", { class: "pad-across" }), h("div", { class: "pad-up" }), h("div", { class: "pad-dot" })];
  #square = h("div", { class: "pad", tabindex: 0, role: "application", "aria-label": "Two latent dimensions at once; arrow keys move" }, ...this.#lines);
  #across: Latent;
  #up: Latent;

  constructor(private readonly app: App) {
    const order = padded(app).sort((a, b) => Number(a.dead) - Number(b.dead) || (b.kl ?? 0) - (a.kl ?? 0));
    [this.#across, this.#up] = [order[0], order[1] ?? order[0]];
    const names = order.map((each): [string, string] => [String(each.index), each.name]);
    const pick = (latent: Latent, act: (chosen: Latent) => void) =>
      choose(names, String(latent.index), (index) => {
        const found = order.find((each) => each.index === Number(index));
        if (found) act(found);
        this.show();
      });
    const choices = order.length > 2 ? h("div", { class: "tools" },
      labeled("across", pick(this.#across, (chosen) => (this.#across = chosen))),
      labeled("up", pick(this.#up, (chosen) => (this.#up = chosen)))) : null;
    this.node = h("div", { class: "pad-box" }, choices, this.#square);
    this.#listen();
    this.show();
    app.store.on("z", () => this.show());
  }

  #listen(): void {
    const move = (event: PointerEvent) => {
      const box = this.#square.getBoundingClientRect();
      this.#set((event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height);
    };
    this.#square.addEventListener("pointerdown", (event) => {
      this.#square.setPointerCapture(event.pointerId);
      move(event);
    });
    this.#square.addEventListener("pointermove", (event) => {
      if (this.#square.hasPointerCapture(event.pointerId)) move(event);
    });
    this.#square.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!by) return;
      event.preventDefault();
      const [x, y] = this.#place();
      this.#set(x + by[0] / 40, y + by[1] / 40);
    });
  }

  #place(): [number, number] {
    const z = codeOf(this.app);
    return [this.#across, this.#up].map(({ index, low, high }) => (z[index] - low) / (high - low || 1)) as [number, number];
  }

  #set(x: number, y: number): void {
    const z = codeOf(this.app).slice();
    for (const [latent, part] of [[this.#across, x], [this.#up, y]] as const) {
      const value = latent.low + Math.max(0, Math.min(1, part)) * (latent.high - latent.low);
      z[latent.index] = latent.kind === "binary" ? Math.round(value) : value;
    }
    this.app.store.set({ z: onSpace(this.app.about.space, z, [this.#across.index, this.#up.index]) });
  }

  // Each part is as large as the pad: percentages of its own size are those of the pad, and moving it needs no layout.
  show(): void {
    const [x, y] = this.#place().map((part) => 100 * part);
    const [across, up, dot] = this.#lines;
    across.style.transform = `translateX(${x}%)`;
    up.style.transform = `translateY(${100 - y}%)`;
    dot.style.transform = `translate(${x}%, ${100 - y}%)`;
    const z = codeOf(this.app);
    this.#square.setAttribute("aria-valuetext", [this.#across, this.#up].map((each) => `${each.name} ${short(z[each.index], 3)}`).join(", "));
  }
}

/** What is given in every example of a conditional model. */
export function givenControls(app: App): HTMLElement | null {
  const given = app.about.given ?? [];
  if (!given.length) return null;
  const set = (name: string, text: string) => app.store.set({ given: { ...app.store.state.given, [name]: text } });
  const controls = given.map((column) => {
    const now = app.store.state.given[column.name] ?? column.value ?? "";
    if (column.categories) return labeled(clip(column.name, 40), choose(column.categories.map((each) => [each, each]), now, (text) => set(column.name, text)));
    const input = h("input", { type: "text", class: "number", autocomplete: "off" });
    input.value = now;
    input.addEventListener("change", () => set(column.name, input.value));
    return labeled(clip(column.name, 40), input);
  });
  return h("div", { class: "tools", role: "group", "aria-label": "Given" }, h("span", { class: "small" }, "given"), ...controls);
}

/** The code and what is given with it, as requests have it. */
export function pointOf(app: App): { z: number[]; given?: Record<string, string> } {
  const known = new Set((app.about.given ?? []).map((each) => each.name));
  const given = Object.entries(app.store.state.given).filter(([name]) => known.has(name));
  return given.length ? { z: codeOf(app), given: Object.fromEntries(given) } : { z: codeOf(app) };
}

export function middleButton(app: App): HTMLElement {
  return button("Middle", () => app.store.set({ z: app.about.latent.map((each) => each.mean) }), { title: "The mean of every dimension" });
}
