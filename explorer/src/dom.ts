// Making elements. Text only ever goes in as text: nothing of the data is parsed as HTML.

type Props = Record<string, string | number | boolean | null | undefined>;
type Child = Node | string | null | undefined | false;

const SVG = "http://www.w3.org/2000/svg";

function fill<E extends Element>(node: E, props: Props, children: Child[]): E {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child || child === "") node.append(child);
  return node;
}

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), props, children);
}

export function svg<K extends keyof SVGElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): SVGElementTagNameMap[K] {
  return fill(document.createElementNS(SVG, tag), props, children);
}

export function button(text: string, act: () => void, props: Props = {}): HTMLButtonElement {
  const made = h("button", { type: "button", ...props }, text);
  made.addEventListener("click", act);
  return made;
}

/** A label around a control, so that both can be clicked and a screen reader names it. */
export function labeled(text: string, control: HTMLElement): HTMLLabelElement {
  return h("label", { class: "labeled" }, h("span", {}, text), control);
}

export function choose(values: [value: string, text: string][], chosen: string, act: (value: string) => void): HTMLSelectElement {
  const select = h("select", {}, ...values.map(([value, text]) => h("option", { value }, clip(text, 60))));
  select.value = chosen;
  select.addEventListener("change", () => act(select.value));
  return select;
}

/** What stands where an answer will be. */
export function waiting(words = "Computing …"): HTMLElement {
  return h("p", { class: "small pending" }, words);
}

let made = 0;
export function unique(stem: string): string {
  made += 1;
  return `${stem}-${made}`;
}

/** Names of the data may be of any length: what is shown is short, and cut between characters. */
export function clip(text: string, length: number): string {
  if (text.length <= length) return text;
  return [...text.slice(0, 2 * length)].slice(0, length - 1).join("") + "…";
}

export function short(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 10000 && Math.abs(value) < 1e12) return Math.round(value).toLocaleString("en-US");
  const rounded = Number(value.toPrecision(digits));
  return Math.abs(rounded) >= 1e12 ? rounded.toExponential() : String(rounded);
}

export function percent(value: number): string {
  const part = 100 * value;
  if (part > 0 && part < 1) return "<1 %";
  if (part < 100 && part > 99) return ">99 %";
  return `${Math.round(part)} %`;
}

export function save(name: string, content: Blob): void {
  const address = URL.createObjectURL(content);
  const link = h("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

export function css(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Sharp on screens with more than one pixel to a CSS pixel. Returns the size in CSS pixels. */
export function fit(canvas: HTMLCanvasElement): { width: number; height: number; ratio: number } {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  const [w, g] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== g) canvas.height = g;
  return { width, height, ratio };
}
