// The distribution of every column, updated in place: a drag changes paths and widths, not elements.
import { clip, h, percent, short, svg } from "./dom";
import type { Distribution } from "./protocol";

const BARS = 4;
const MOST_BARS = 64;

interface View {
  node: HTMLElement;
  show(column: Distribution): void;
}

function densityView(): View {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line", "vector-effect": "non-scaling-stroke" });
  const spikes = svg("path", { class: "spike", "vector-effect": "non-scaling-stroke" });
  const chart = svg("svg", { class: "density", viewBox: "0 0 200 30", preserveAspectRatio: "none", "aria-hidden": "true" }, area, line, spikes);
  const [low, high] = [h("span"), h("span")];
  const words = h("div", { class: "small" });
  const node = h("div", { class: "density-box" }, chart, h("div", { class: "ends", "aria-hidden": "true" }, low, high), words);
  const show = ({ density, spikes: found }: Distribution) => {
    if (!density || !density.x.length) return;
    const { x, y, labels } = density;
    const most = Math.max(...y.map((value) => value ?? 0)) || 1;
    const [first, last] = [Math.min(x[0], ...(found ?? []).map((each) => each.x)), Math.max(x[x.length - 1], ...(found ?? []).map((each) => each.x))];
    const across = (value: number) => (200 * (value - first)) / (last - first || 1);
    const tall = (found ?? []).filter(({ p }) => p >= 0.005).sort((a, b) => b.p - a.p);
    const bars = tall.map((each) => `M${across(each.x).toFixed(1)} 30V${(30 - 28 * each.p).toFixed(1)}`);
    spikes.setAttribute("d", bars.join(""));
    words.textContent = tall.slice(0, 3).map(({ text, p }) => `exactly ${clip(text, 24)}: ${percent(p)}`).join(", ");
    const height = (i: number) => (29 - (27 * (y[i] ?? 0)) / most).toFixed(1);
    if (density.step && x.length <= MOST_BARS) {
      // All values that the column can have: a bar each.
      const wide = Math.max(1, Math.min(12, 140 / x.length)) / 2;
      const place = (value: number) => Math.max(wide, Math.min(200 - wide, across(value)));
      line.setAttribute("d", "");
      area.setAttribute("d", x.map((value, i) => `M${(place(value) - wide).toFixed(1)} 30V${height(i)}h${(2 * wide).toFixed(1)}V30Z`).join(""));
    } else {
      const points = x.map((value, i) => `${across(value).toFixed(1)} ${height(i)}`);
      line.setAttribute("d", `M${points.join("L")}`);
      area.setAttribute("d", `M0 30L${points.join("L")}L200 30Z`);
    }
    chart.classList.toggle("discrete", !line.getAttribute("d"));
    low.textContent = clip(first === x[0] && labels?.[0] ? labels[0] : short(first), 24);
    high.textContent = clip(last === x[x.length - 1] && labels?.length ? labels[labels.length - 1] : short(last), 24);
  };
  return { node, show };
}

function categoriesView(): View {
  const bars = Array.from({ length: BARS }, () => {
    const [name, fill, value] = [h("span", { class: "name" }), h("i"), h("b")];
    return { node: h("div", { class: "bar" }, name, h("span", { class: "track" }, fill), value), name, fill, value };
  });
  const node = h("div", { class: "bars" }, ...bars.map((bar) => bar.node));
  const show = ({ categories }: Distribution) => {
    const shown = atMost(categories ?? [], BARS);
    bars.forEach((bar, i) => {
      bar.node.hidden = i >= shown.length;
      if (i >= shown.length) return;
      bar.name.textContent = clip(shown[i].name, 40);
      bar.fill.style.width = `${(100 * shown[i].p).toFixed(1)}%`;
      bar.value.textContent = percent(shown[i].p);
    });
  };
  return { node, show };
}

function atMost(categories: { name: string; p: number }[], most: number): { name: string; p: number }[] {
  if (categories.length <= most) return categories;
  const rest = categories.slice(most - 1);
  return [...categories.slice(0, most - 1), { name: "others", p: rest.reduce((sum, each) => sum + each.p, 0) }];
}

/** One column: its name, its likeliest value, and how sure the model is. */
export class ColumnView {
  readonly node: HTMLElement;
  readonly shape: string;
  #text = h("span", { class: "value" });
  #missing = h("span", { class: "small" });
  #view: View | null;

  constructor(column: Distribution) {
    this.shape = ColumnView.shapeOf(column);
    this.#view = column.density ? densityView() : column.categories ? categoriesView() : null;
    const head = h("div", { class: "head" }, h("span", { class: "column" }, clip(column.name, 60)), this.#text);
    this.node = h("div", { class: "distribution", role: "listitem" }, head, this.#view?.node, this.#missing);
    this.show(column);
  }

  /** Columns of one shape are shown by one view. */
  static shapeOf(column: Distribution): string {
    return `${column.density ? "density" : column.categories ? "categories" : "text"} ${column.name}`;
  }

  show(column: Distribution): void {
    this.#text.textContent = clip(column.text, 80);
    this.#view?.show(column);
    const mass = column.mass_missing ?? 0;
    const words = [mass >= 0.005 ? `missing with probability ${percent(mass)}` : "", column.uncertain ? "uncertain: few draws of the model fit the other cells" : ""];
    this.#missing.textContent = words.filter(Boolean).join("; ");
  }
}

export class Distributions {
  readonly node = h("div", { class: "distributions", role: "list", "aria-label": "columns and their distributions" });
  #views: ColumnView[] = [];
  #shape = "";

  show(columns: Distribution[]): void {
    const shape = JSON.stringify(columns.map(ColumnView.shapeOf));
    if (shape === this.#shape) {
      columns.forEach((column, i) => this.#views[i].show(column));
      return;
    }
    this.#shape = shape;
    this.#views = columns.map((column) => new ColumnView(column));
    this.node.replaceChildren(...this.#views.map((view) => view.node));
  }
}
