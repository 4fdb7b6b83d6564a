// The map: every row as a point. What it shows of the rows (colors, legend, selection, the card) is in other files.
import type { App, Marks } from "./app";
import { coloring, plain, type Coloring, type ColorReply, type Group } from "./colors";
import { codeOf } from "./controls";
import { button, h } from "./dom";
import { listen, type Gestures } from "./gestures";
import { HoverCard } from "./hover";
import { legendOf } from "./legend";
import { type Overlay, paintOverlay } from "./marks";
import { Points, type Box, type Point } from "./points";
import type { Decoded, Description } from "./protocol";
import { painterOf, type Camera, type Painter } from "./scatter";
import { Selection } from "./selection";
import { Dropped, Latest, messageOf } from "./wire";

const [NOTHING, CODE, MARKS, POINTS] = [0, 1, 2, 3];
const HELP =
  "Arrow keys go from point to point, Enter pins a row, plus and minus zoom, 0 shows everything, Shift with arrows moves the map, Escape clears.";

export class MapPanel implements Gestures, Marks {
  readonly node: HTMLElement;
  #canvas = h("canvas", { class: "points", tabindex: 0, role: "application", "aria-label": "Map of the rows", "aria-describedby": "map-help" });
  #over = h("canvas", { class: "over", "aria-hidden": "true" });
  #mark = h("div", { class: "code-mark", "aria-hidden": "true", hidden: true });
  #box = h("div", { class: "map-box" }, this.#canvas, this.#over, this.#mark);
  #legend = h("div", { class: "legend" });
  #words = h("p", { class: "small" });
  #progress = h("p", { class: "small", role: "status" });
  #painter: Painter = painterOf(this.#canvas);
  #points = new Points(new Float32Array());
  #rows: Int32Array | null = null;
  #places = new Map<number, number>();
  #coloring: Coloring | null = null;
  #values: ArrayLike<number> | null = null;
  #groups: Group[] = [];
  #camera: Camera = { x: 0, y: 0, scale: 1 };
  #focus: number | null = null;
  #lassoing = false;
  #overlay: Overlay = { edge: null, axes: [], pins: [], near: [], way: [], focus: null, whatIf: null, lasso: null };
  #code: Point | null = null;
  #whatIf: Point | null = null;
  #near: number[] = [];
  #way: Point[] = [];
  #timer = 0;
  #due = NOTHING;
  #place: Latest<{ z: number[] }>;
  #card: HoverCard;
  #selection: Selection;
  #lasso: HTMLButtonElement;

  constructor(private readonly app: App) {
    this.#place = new Latest(app.wire, "place", ({ z }) => app.store.set({ z }), app.say);
    this.#card = new HoverCard(app, this.#box);
    this.#selection = new Selection(app, () => this.#recolor());
    this.#lasso = button("Lasso", () => this.#setLasso(!this.#lassoing), { "aria-pressed": "false", title: "Draw around rows; so does dragging with Shift" });
    this.node = this.#build();
    listen(this.#canvas, this);
    new ResizeObserver(() => this.#aim()).observe(this.#canvas);
    this.#canvas.addEventListener("webglcontextrestored", () => this.#repaint());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => void this.#color());
    app.store.on("color", () => void this.#color());
    app.store.on("view", () => this.#aim());
    app.store.on("pins", () => this.#remark());
  }

  #build(): HTMLElement {
    const { app } = this;
    const options = (app.about.colors ?? []).map((each) => [each.id, each.name] as const);
    const select = h("select", { id: "color" }, ...options.map(([value, text]) => h("option", { value }, text.slice(0, 60))));
    select.value = app.store.state.color;
    select.addEventListener("change", () => app.store.set({ color: select.value }));
    app.store.on("color", ({ color }) => (select.value = color));
    const tools = h("div", { class: "tools" },
      options.length ? h("label", { class: "labeled" }, h("span", {}, "Color"), select) : null,
      h("span", { class: "space" }),
      this.#lasso,
      button("Select view", () => this.#selectView(), { title: "Select the rows that are in view" }),
      button("−", () => this.zoom(null, 1 / 1.6), { "aria-label": "Zoom out", class: "square" }),
      button("+", () => this.zoom(null, 1.6), { "aria-label": "Zoom in", class: "square" }),
      button("All", () => this.reset(), { title: "Show everything" }));
    const help = h("p", { id: "map-help", class: "hidden" }, HELP);
    return h("section", { class: "map", "aria-label": "Map" }, tools, this.#box, help, this.#legend, this.#selection.node, this.#progress, this.#words);
  }

  async load(): Promise<void> {
    this.#box.classList.add("busy");
    try {
      const { arrays } = await this.app.wire.ask("map");
      this.#points = new Points(arrays.positions.data as Float32Array);
      this.#rows = arrays.rows ? (arrays.rows.data as Int32Array) : null;
      this.#places = new Map(Array.from(this.#rows ?? [], (row, place) => [row, place]));
      this.#painter.setPositions(this.#points.positions);
      this.#describe();
      this.#aim();
      await this.#color();
    } catch (error) {
      if (!(error instanceof Dropped)) this.#words.textContent = messageOf(error);
    } finally {
      this.#box.classList.remove("busy");
    }
  }

  #describe(): void {
    const { map, num_rows } = this.app.about;
    const count = this.#points.count.toLocaleString("en-US");
    const of = num_rows && num_rows > this.#points.count ? ` of ${num_rows.toLocaleString("en-US")}` : "";
    const parts = [`${count}${of} rows.`, map?.note, this.#painter.words === "WebGL" ? null : this.#painter.words];
    this.#words.textContent = parts.filter(Boolean).join(" ");
  }

  // Colors.

  async #color(): Promise<void> {
    const count = this.#points.count;
    const alpha = count < 3000 ? 220 : count < 20000 ? 170 : 120;
    const by = this.app.store.state.color;
    this.#groups = [];
    try {
      const known = (this.app.about.colors ?? []).some((each) => each.id === by);
      const reply = known ? await this.app.wire.ask<ColorReply>("color", { by }) : null;
      if (by !== this.app.store.state.color) return;
      const { values } = reply?.arrays ?? {};
      if (values && this.#rows && values.data.length !== count) values.data = Float32Array.from(this.#rows, (row) => values.data[row]);
      this.#coloring = reply ? coloring(reply, alpha) : plain(count, alpha);
      this.#values = values?.data ?? null;
      this.#again(reply?.progress);
    } catch (error) {
      if (error instanceof Dropped) return;
      this.app.say(messageOf(error));
      this.#coloring = plain(count, alpha);
    }
    this.#legend.replaceChildren(legendOf(this.#coloring, (groups) => {
      this.#groups = groups;
      this.#recolor();
    }));
    this.#recolor();
  }

  // Scores are computed in the background: the map fills up.
  #again(progress: number | null | undefined): void {
    clearTimeout(this.#timer);
    const part = progress ?? 1;
    this.#progress.textContent = part < 1 ? `${Math.floor(100 * part)} % of the rows are scored so far.` : "";
    if (part < 1) this.#timer = window.setTimeout(() => void this.#color(), 1500);
  }

  #shown = (i: number): boolean => !this.#groups.length || this.#groups.some((group) => group.members.has(this.#values?.[i] ?? -1));

  #recolor(): void {
    if (!this.#coloring) return;
    const bytes = this.#coloring.bytes.slice();
    const { chosen } = this.#selection;
    if (this.#groups.length || chosen.size) {
      for (let i = 0; i < this.#points.count; i++) {
        if (!this.#shown(i)) bytes[4 * i + 3] = 14;
        else if (chosen.size && !chosen.has(this.rowOf(i))) bytes[4 * i + 3] *= 0.2;
      }
    }
    this.#painter.setColors(bytes);
    this.#repaint();
  }

  // Where things are.

  rowOf(place: number): number {
    return this.#rows ? this.#rows[place] : place;
  }

  #placeOf(row: number): number | undefined {
    if (this.#rows) return this.#places.get(row);
    return row < this.#points.count ? row : undefined;
  }

  #whole(): Camera {
    const { left, right, low, high } = boxOfSpace(this.app.about) ?? this.#points.box;
    const { clientWidth, clientHeight } = this.#canvas;
    const scale = 0.92 * Math.min(clientWidth / (right - left || 1), clientHeight / (high - low || 1));
    return { x: (left + right) / 2, y: (low + high) / 2, scale: Math.max(scale, 1e-9) };
  }

  /** Sets the camera from the state; the zoom is relative, so that a link works on every screen. */
  #aim(): void {
    const whole = this.#whole();
    const { view } = this.app.store.state;
    this.#camera = view ? { x: view[0], y: view[1], scale: whole.scale * view[2] } : whole;
    this.#repaint();
  }

  #look(camera: Camera): void {
    const whole = this.#whole().scale;
    const zoom = Math.max(0.3, Math.min(5000, camera.scale / whole));
    this.app.store.set({ view: [camera.x, camera.y, zoom] });
  }

  #toScreen = ([x, y]: Point): Point => {
    const { clientWidth, clientHeight } = this.#canvas;
    return [clientWidth / 2 + (x - this.#camera.x) * this.#camera.scale, clientHeight / 2 - (y - this.#camera.y) * this.#camera.scale];
  };

  #toData = ([x, y]: Point): Point => {
    const { clientWidth, clientHeight } = this.#canvas;
    return [this.#camera.x + (x - clientWidth / 2) / this.#camera.scale, this.#camera.y - (y - clientHeight / 2) / this.#camera.scale];
  };

  #at(position: Point, radius: number): number | null {
    return this.#points.nearest(this.#toData(position), radius / this.#camera.scale, this.#shown);
  }

  // Painting: at most once a frame, and only what has changed. The code follows every change of a slider: it is an
  // element of its own, as moving one costs much less than drawing a canvas of the size of the map anew.

  #repaint(): void {
    this.#draw(POINTS);
  }

  #remark(): void {
    this.#draw(MARKS);
  }

  #draw(what: number): void {
    const isAsked = this.#due !== NOTHING;
    this.#due = Math.max(this.#due, what);
    if (isAsked) return;
    requestAnimationFrame(() => {
      const due = this.#due;
      this.#due = NOTHING;
      if (due >= POINTS) this.#paintPoints();
      if (due >= MARKS) this.#paintMarks();
      this.#placeCode();
    });
  }

  #placeCode(): void {
    this.#mark.hidden = !this.#code;
    if (!this.#code) return;
    const [x, y] = this.#toScreen(this.#code);
    this.#mark.style.transform = `translate(${x}px, ${y}px)`;
  }

  #paintPoints(): void {
    const count = Math.max(1, this.#points.count);
    const { clientWidth, clientHeight } = this.#canvas;
    const zoom = this.#camera.scale / this.#whole().scale;
    const radius = Math.max(1, Math.min(4, 0.2 * Math.sqrt((clientWidth * clientHeight) / count))) * Math.min(3, Math.max(0.8, zoom ** 0.3));
    this.#painter.paint(this.#camera, radius);
  }

  #paintMarks(): void {
    const spot = (row: number) => {
      const place = this.#placeOf(row);
      return place === undefined ? null : this.#toScreen(this.#points.at(place));
    };
    const edge = boxOfSpace(this.app.about);
    const own = this.app.store.state.row;
    this.#overlay = {
      edge: edge ? { middle: this.#toScreen([0, 0]), radii: [edge.right * this.#camera.scale, edge.high * this.#camera.scale] } : null,
      axes: this.app.about.map?.axes ?? [],
      pins: this.app.store.state.pins.flatMap((row) => {
        const at = spot(row);
        return at ? [{ at, row }] : [];
      }),
      near: this.#near.map(spot).filter((at) => at !== null),
      way: this.#way.map(this.#toScreen),
      focus: this.#focus === null ? null : this.#toScreen(this.#points.at(this.#focus)),
      whatIf: this.#whatIf ? { from: own === null ? null : spot(own), to: this.#toScreen(this.#whatIf) } : null,
      lasso: this.#overlay.lasso,
    };
    paintOverlay(this.#over, this.#overlay);
  }

  // Marks of the tabs.

  showCode(position: Decoded["position"]): void {
    this.#code = position ?? null;
    this.#draw(CODE);
  }

  showWhatIf(position: Decoded["position"]): void {
    this.#whatIf = position ?? null;
    this.#remark();
  }

  showNear(rows: number[]): void {
    this.#near = rows;
    this.#remark();
  }

  showWay(positions: Point[]): void {
    this.#way = positions;
    this.#remark();
  }

  // Gestures.

  dragOf(at: Point): "lasso" | "code" | "map" {
    if (this.#lassoing) return "lasso";
    const code = this.#code && this.#toScreen(this.#code);
    return code && this.app.can("place") && Math.hypot(code[0] - at[0], code[1] - at[1]) < 14 ? "code" : "map";
  }

  hover(at: Point | null): void {
    this.#setFocus(at && this.#at(at, 10));
  }

  click(at: Point, touch: boolean): void {
    const place = this.#at(at, touch ? 18 : 10);
    this.#setFocus(place);
    this.enter();
  }

  open(at: Point): void {
    if (this.app.can("place") && this.#at(at, 10) === null) this.moveCode(at);
  }

  moveMap([dx, dy]: Point): void {
    this.#card.hide();
    this.#look({ ...this.#camera, x: this.#camera.x - dx / this.#camera.scale, y: this.#camera.y + dy / this.#camera.scale });
  }

  moveCode(to: Point): void {
    const position = this.#toData(to);
    this.showCode(position);
    this.#place.ask({ position, z: codeOf(this.app) });
  }

  zoom(at: Point | null, times: number): void {
    const middle: Point = at ?? [this.#canvas.clientWidth / 2, this.#canvas.clientHeight / 2];
    const [x, y] = this.#toData(middle);
    const scale = this.#camera.scale * times;
    const [dx, dy] = [middle[0] - this.#canvas.clientWidth / 2, middle[1] - this.#canvas.clientHeight / 2];
    this.#card.hide();
    this.#look({ x: x - dx / scale, y: y + dy / scale, scale });
  }

  lasso(polygon: Point[], ended: boolean): void {
    this.#overlay.lasso = ended ? null : polygon;
    if (ended) {
      this.#choose(this.#points.within(polygon.map(this.#toData), this.#shown));
      this.#setLasso(false);
    }
    this.#remark();
  }

  step(direction: Point): void {
    if (!this.#points.count) return;
    const start = this.#focus === null ? this.#points.nearest([this.#camera.x, this.#camera.y], Infinity, this.#shown) : this.#points.toward(this.#focus, direction, this.#shown);
    if (start === null) return;
    this.#setFocus(start);
    const [x, y] = this.#toScreen(this.#points.at(start));
    const { clientWidth, clientHeight } = this.#canvas;
    if (x < 0 || y < 0 || x > clientWidth || y > clientHeight) {
      const [cx, cy] = this.#points.at(start);
      this.#look({ ...this.#camera, x: cx, y: cy });
    }
  }

  enter(): void {
    if (this.#focus === null) return;
    const row = this.rowOf(this.#focus);
    this.app.store.pin(row);
    this.app.store.set({ row });
  }

  escape(): void {
    this.#setLasso(false);
    this.#setFocus(null);
    this.#selection.choose([]);
  }

  reset(): void {
    this.app.store.set({ view: null });
  }

  #setFocus(place: number | null): void {
    this.#focus = place;
    this.#canvas.classList.toggle("over-point", place !== null);
    if (place === null) this.#card.hide();
    else this.#card.show(this.rowOf(place), this.#toScreen(this.#points.at(place)));
    this.#remark();
  }

  #setLasso(on: boolean): void {
    this.#lassoing = on;
    this.#lasso.setAttribute("aria-pressed", String(on));
    this.#canvas.classList.toggle("lassoing", on);
  }

  #selectView(): void {
    const { clientWidth, clientHeight } = this.#canvas;
    const corners: Point[] = [[0, 0], [clientWidth, 0], [clientWidth, clientHeight], [0, clientHeight]];
    this.#choose(this.#points.within(corners.map(this.#toData), this.#shown));
  }

  #choose(places: number[]): void {
    if (!places.length) this.app.say("No row is in there.");
    this.#selection.choose(places.map((place) => this.rowOf(place)));
  }
}

/** The ellipse that the map of a ball or a sphere fills; other spaces have no edge. */
function boxOfSpace({ space, map }: Description): Box | null {
  const globe = map?.method === "sphere" && map.axes?.[0] === "longitude";
  const [x, y] = globe ? [2 * Math.SQRT2, Math.SQRT2] : [1, 1];
  const isRound = space === "ball" ? map?.method !== "spread" : map?.method === "sphere";
  return isRound ? { left: -x, right: x, low: -y, high: y } : null;
}
