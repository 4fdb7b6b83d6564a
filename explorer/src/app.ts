// What every part of the page shares: the connection, the state, what the server can do, and rows already asked for.
import type { Description, Row } from "./protocol";
import type { Store } from "./state";
import type { Reply, Wire } from "./wire";
import { clip, short } from "./dom";

const MOST_ROWS = 400;

/** Rows that were shown lately: a pointer that comes back asks for nothing. */
export class Rows {
  #kept = new Map<number, Promise<Reply<Row>>>();

  constructor(private readonly wire: Wire) {}

  get(index: number): Promise<Reply<Row>> {
    const found = this.#kept.get(index) ?? this.wire.ask<Row>("row", { index });
    this.#kept.delete(index);
    this.#kept.set(index, found);
    found.catch(() => this.#kept.delete(index));
    const oldest = this.#kept.keys().next().value;
    if (this.#kept.size > MOST_ROWS && oldest !== undefined) this.#kept.delete(oldest);
    return found;
  }
}

/** A row in one sentence, for the screen reader and under its picture. */
export function summaryOf(row: Row): string {
  const parts: string[] = row.name ? [clip(row.name, 60)] : [];
  if (row.label !== null && row.label !== undefined && row.label !== "") parts.push(`label ${clip(String(row.label), 60)}`);
  if (row.score !== null && row.score !== undefined) parts.push(`score ${short(row.score)}`);
  return parts.join(", ");
}

export interface App {
  readonly wire: Wire;
  readonly store: Store;
  readonly about: Description;
  readonly rows: Rows;
  /** When the map is there: the first code to decode may wait for the compiler, and answers come in order. */
  readonly mapped: Promise<void>;
  /** Whether the server does this for this model and data. */
  can(op: string): boolean;
  /** Says something to the user and to the screen reader, for a few seconds. */
  say(message: string): void;
}

/** What a tab can put on the map. */
export interface Marks {
  showCode(position: [number, number] | null | undefined): void;
  showWhatIf(position: [number, number] | null | undefined): void;
  showNear(rows: number[]): void;
  showWay(positions: [number, number][]): void;
}
