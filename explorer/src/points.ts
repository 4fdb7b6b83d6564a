// Finding points: a grid of cells over the plane, built once; nearest in a radius, in a direction, in a polygon.

export type Point = [x: number, y: number];

export interface Box {
  left: number;
  right: number;
  low: number;
  high: number;
}

export class Points {
  readonly box: Box;
  readonly count: number;
  #cells: Int32Array;
  #starts: Int32Array;
  #columns: number;
  #size: number;

  constructor(readonly positions: Float32Array) {
    this.count = positions.length / 2;
    this.box = boxOf(positions);
    const { left, right, low, high } = this.box;
    this.#columns = Math.max(1, Math.min(512, Math.ceil(Math.sqrt(this.count))));
    this.#size = Math.max(right - left, high - low) / this.#columns || 1;
    const cells = this.#columns ** 2;
    this.#starts = new Int32Array(cells + 1);
    for (let i = 0; i < this.count; i++) this.#starts[this.#cellOf(i) + 1]++;
    for (let cell = 0; cell < cells; cell++) this.#starts[cell + 1] += this.#starts[cell];
    const free = this.#starts.slice();
    this.#cells = new Int32Array(this.count);
    for (let i = 0; i < this.count; i++) this.#cells[free[this.#cellOf(i)]++] = i;
  }

  at(i: number): Point {
    return [this.positions[2 * i], this.positions[2 * i + 1]];
  }

  #clamp(value: number): number {
    return Math.max(0, Math.min(this.#columns - 1, Math.floor(value)));
  }

  #cellOf(i: number): number {
    const x = this.#clamp((this.positions[2 * i] - this.box.left) / this.#size);
    const y = this.#clamp((this.positions[2 * i + 1] - this.box.low) / this.#size);
    return y * this.#columns + x;
  }

  *#inside(box: Box): Generator<number> {
    const [x0, x1] = [box.left, box.right].map((x) => this.#clamp((x - this.box.left) / this.#size));
    const [y0, y1] = [box.low, box.high].map((y) => this.#clamp((y - this.box.low) / this.#size));
    for (let y = y0; y <= y1; y++) {
      for (let at = this.#starts[y * this.#columns + x0]; at < this.#starts[y * this.#columns + x1 + 1]; at++) yield this.#cells[at];
    }
  }

  /** The nearest point within the radius that is shown, or null. */
  nearest([x, y]: Point, radius: number, shown: (i: number) => boolean): number | null {
    let [best, least] = [null as number | null, radius * radius];
    for (const i of this.#inside({ left: x - radius, right: x + radius, low: y - radius, high: y + radius })) {
      const distance = (this.positions[2 * i] - x) ** 2 + (this.positions[2 * i + 1] - y) ** 2;
      if (distance <= least && shown(i)) [best, least] = [i, distance];
    }
    return best;
  }

  /** The nearest point that lies in a direction, within 45 degrees: what the arrow keys go to. */
  toward(from: number, [dx, dy]: Point, shown: (i: number) => boolean): number | null {
    const [x, y] = this.at(from);
    let [best, least] = [null as number | null, Infinity];
    for (let i = 0; i < this.count; i++) {
      const along = (this.positions[2 * i] - x) * dx + (this.positions[2 * i + 1] - y) * dy;
      const across = Math.abs((this.positions[2 * i] - x) * dy - (this.positions[2 * i + 1] - y) * dx);
      if (along <= 0 || across > along) continue;
      const distance = along * along + across * across;
      if (distance < least && shown(i)) [best, least] = [i, distance];
    }
    return best;
  }

  /** All points in a polygon, by the even-odd rule. */
  within(polygon: Point[], shown: (i: number) => boolean): number[] {
    const box = boxOf(Float32Array.from(polygon.flat()));
    const found: number[] = [];
    for (const i of this.#inside(box)) if (shown(i) && encloses(polygon, this.at(i))) found.push(i);
    return found.sort((a, b) => a - b);
  }
}

function encloses(polygon: Point[], [x, y]: Point): boolean {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [[ax, ay], [bx, by]] = [polygon[i], polygon[j]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

export function boxOf(positions: Float32Array): Box {
  const box = { left: Infinity, right: -Infinity, low: Infinity, high: -Infinity };
  for (let i = 0; i < positions.length; i += 2) {
    box.left = Math.min(box.left, positions[i]);
    box.right = Math.max(box.right, positions[i]);
    box.low = Math.min(box.low, positions[i + 1]);
    box.high = Math.max(box.high, positions[i + 1]);
  }
  return positions.length ? box : { left: -1, right: 1, low: -1, high: 1 };
}
