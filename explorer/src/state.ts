// What the user sees, kept in the URL's fragment so that a view can be shared, reloaded and bookmarked.

export interface State {
  tab: string;
  color: string;
  pins: number[];
  row: number | null;
  z: number[];
  given: Record<string, string>;
  view: [x: number, y: number, zoom: number] | null;
}

const EMPTY: State = { tab: "move", color: "", pins: [], row: null, z: [], given: {}, view: null };
const MOST_PINS = 12;

function numbers(text: string | null): number[] {
  return (text ?? "").split(",").filter(Boolean).map(Number);
}

function texts(text: string | null): Record<string, string> {
  try {
    const found = Object.entries(JSON.parse(text ?? "{}"));
    return Object.fromEntries(found.filter((entry): entry is [string, string] => typeof entry[1] === "string"));
  } catch {
    return {};
  }
}

/** Anything may stand in a link: what is not a number is left out. */
export function read(fragment: string): State {
  const found = new URLSearchParams(fragment.replace(/^#/, ""));
  const whole = (value: number) => Number.isSafeInteger(value) && value >= 0;
  const z = numbers(found.get("z"));
  const view = numbers(found.get("view"));
  const row = found.has("row") ? Number(found.get("row")) : NaN;
  return {
    tab: found.get("tab") ?? EMPTY.tab,
    color: found.get("color") ?? EMPTY.color,
    pins: [...new Set(numbers(found.get("pins")).filter(whole))].slice(0, MOST_PINS),
    row: whole(row) ? row : null,
    given: texts(found.get("given")),
    z: z.every(Number.isFinite) ? z : [],
    view: view.length === 3 && view.every(Number.isFinite) && view[2] > 0 ? [view[0], view[1], view[2]] : null,
  };
}

export function write(state: State): string {
  const parts = [`tab=${encodeURIComponent(state.tab)}`];
  if (state.color) parts.push(`color=${encodeURIComponent(state.color)}`);
  if (state.pins.length) parts.push(`pins=${state.pins.join(",")}`);
  if (state.row !== null) parts.push(`row=${state.row}`);
  if (state.z.length) parts.push(`z=${state.z.map((value) => Number(value.toPrecision(5))).join(",")}`);
  if (Object.keys(state.given).length) parts.push(`given=${encodeURIComponent(JSON.stringify(state.given))}`);
  if (state.view) parts.push(`view=${state.view.map((value) => Number(value.toPrecision(5))).join(",")}`);
  return "#" + parts.join("&");
}

type Key = keyof State;
type Listener = (state: State) => void;

export class Store {
  state: State = read(location.hash);
  #listeners: [Key, Listener][] = [];
  #timer = 0;

  constructor() {
    addEventListener("hashchange", () => {
      if (location.hash !== write(this.state)) this.set(read(location.hash));
    });
  }

  on(key: Key, listener: Listener): void {
    this.#listeners.push([key, listener]);
  }

  set(patch: Partial<State>): void {
    const before = this.state;
    this.state = { ...before, ...patch };
    const changed = (Object.keys(patch) as Key[]).filter((key) => before[key] !== this.state[key]);
    for (const [key, listener] of this.#listeners) if (changed.includes(key)) listener(this.state);
    if (changed.length) this.#remember();
  }

  pin(row: number): void {
    if (this.state.pins.includes(row)) return;
    this.set({ pins: [...this.state.pins, row].slice(-MOST_PINS) });
  }

  unpin(row: number): void {
    this.set({ pins: this.state.pins.filter((each) => each !== row) });
  }

  // Browsers refuse an address that changes at every frame of a drag.
  #remember(): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => history.replaceState(null, "", write(this.state)), 200);
  }
}
