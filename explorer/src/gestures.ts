// Pointer, wheel and keys on the map, as what they mean. Positions are CSS pixels from the canvas's corner.
import type { Point } from "./points";

export interface Gestures {
  /** Whether a drag that begins here draws a lasso, moves the code, or moves the map. */
  dragOf(at: Point): "lasso" | "code" | "map";
  hover(at: Point | null): void;
  click(at: Point, touch: boolean): void;
  open(at: Point): void;
  moveMap(by: Point): void;
  moveCode(to: Point): void;
  zoom(at: Point | null, times: number): void;
  lasso(polygon: Point[], ended: boolean): void;
  step(direction: Point): void;
  enter(): void;
  escape(): void;
  reset(): void;
}

const STILL = 4;
const ARROWS: Record<string, Point> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

export function listen(canvas: HTMLCanvasElement, to: Gestures): void {
  new Pointers(canvas, to);
  canvas.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey && press(event, to)) event.preventDefault();
  });
}

function press(event: KeyboardEvent, to: Gestures): boolean {
  const arrow = ARROWS[event.key];
  if (arrow && event.shiftKey) to.moveMap([-60 * arrow[0], 60 * arrow[1]]);
  else if (arrow) to.step(arrow);
  else if (event.key === "Enter" || event.key === " ") to.enter();
  else if (event.key === "Escape") to.escape();
  else if (event.key === "+" || event.key === "=") to.zoom(null, 1.4);
  else if (event.key === "-") to.zoom(null, 1 / 1.4);
  else if (event.key === "0") to.reset();
  else return false;
  return true;
}

class Pointers {
  #down = new Map<number, Point>();
  #start: Point = [0, 0];
  #moved = false;
  #drag: "lasso" | "code" | "map" | "pinch" | null = null;
  #polygon: Point[] = [];

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly to: Gestures,
  ) {
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#release(event));
    canvas.addEventListener("pointercancel", (event) => this.#forget(event));
    canvas.addEventListener("pointerleave", () => this.#drag || to.hover(null));
    canvas.addEventListener("dblclick", (event) => to.open(this.#at(event)));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      to.zoom(this.#at(event), Math.exp(-Math.max(-100, Math.min(100, event.deltaY)) * 0.003));
    }, { passive: false });
  }

  #at(event: MouseEvent): Point {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #press(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.#at(event);
    this.#down.set(event.pointerId, at);
    if (this.#down.size > 1) {
      this.#drag = "pinch";
      return;
    }
    [this.#start, this.#moved, this.#polygon] = [at, false, [at]];
    this.#drag = event.shiftKey ? "lasso" : this.to.dragOf(at);
  }

  #move(event: PointerEvent): void {
    const at = this.#at(event);
    const before = this.#down.get(event.pointerId);
    if (!before) {
      this.to.hover(at);
      return;
    }
    if (this.#drag === "pinch") this.#pinch(event.pointerId, at);
    this.#moved ||= Math.hypot(at[0] - this.#start[0], at[1] - this.#start[1]) > STILL;
    this.#down.set(event.pointerId, at);
    if (!this.#moved) return;
    if (this.#drag !== "map") this.to.hover(null);
    if (this.#drag === "map") this.to.moveMap([at[0] - before[0], at[1] - before[1]]);
    if (this.#drag === "code") this.to.moveCode(at);
    if (this.#drag === "lasso") {
      this.#polygon.push(at);
      this.to.lasso(this.#polygon, false);
    }
  }

  #pinch(pointer: number, at: Point): void {
    const others = [...this.#down].filter(([id]) => id !== pointer).map(([, point]) => point);
    const before = this.#down.get(pointer);
    if (!others.length || !before) return;
    const [still] = others;
    const apart = (point: Point) => Math.max(10, Math.hypot(point[0] - still[0], point[1] - still[1]));
    this.to.zoom([(at[0] + still[0]) / 2, (at[1] + still[1]) / 2], apart(at) / apart(before));
    this.#moved = true;
  }

  #release(event: PointerEvent): void {
    const at = this.#at(event);
    const [drag, moved] = [this.#drag, this.#moved];
    if (!this.#down.has(event.pointerId)) return;
    this.#forget(event);
    if (drag === "pinch") return;
    if (!moved) this.to.click(at, event.pointerType === "touch");
    else if (drag === "lasso") this.to.lasso(this.#polygon, true);
  }

  #forget(event: PointerEvent): void {
    this.#down.delete(event.pointerId);
    if (!this.#down.size) this.#drag = null;
  }
}
