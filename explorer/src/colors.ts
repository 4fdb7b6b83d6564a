// Colors of points: ten for categories, ten steps for numbers, from the style sheet, so that both themes have theirs.
import type { NdArray } from "./protocol";
import { css } from "./dom";

type Rgb = [number, number, number];

export interface Group {
  name: string;
  color: string;
  count: number;
  /** The categories in this group: one, or the rare ones together. */
  members: Set<number>;
}

export interface Coloring {
  /** Four bytes a point. */
  bytes: Uint8Array;
  groups?: Group[];
  range?: { low: number; high: number; unit: string; steps: string[]; missing: number; known: number; waiting: boolean };
}

export interface ColorReply {
  categories?: string[];
  low?: number | null;
  high?: number | null;
  unit?: string | null;
  /** The ends of the middle 98 %: better ends of a scale where tails are long. */
  inner?: [number, number] | null;
  /** The fraction of the rows that is known so far. */
  progress?: number | null;
  arrays: Record<string, NdArray>;
}

const CATEGORY_COLORS = [..."abcdefghij"].map((letter) => `--k${letter}`);
const NUMBER_COLORS = [..."0123456789"].map((digit) => `--k${digit}`);
const UNKNOWN = "--kx";
const NAMED_GROUPS = 10;

export function rgb(color: string): Rgb {
  const hex = color.replace("#", "");
  const wide = hex.length === 3 ? [...hex].map((digit) => digit + digit).join("") : hex;
  return [0, 2, 4].map((at) => parseInt(wide.slice(at, at + 2), 16)) as Rgb;
}

function painted(count: number, colorOf: (i: number) => Rgb, alpha: number): Uint8Array {
  const bytes = new Uint8Array(4 * count);
  for (let i = 0; i < count; i++) {
    bytes.set(colorOf(i), 4 * i);
    bytes[4 * i + 3] = alpha;
  }
  return bytes;
}

/** The ten largest categories have a color each; the others share gray, as missing values do. */
function groupsOf(values: NdArray["data"], categories: string[]): Group[] {
  const counts = new Array<number>(categories.length).fill(0);
  let missing = 0;
  for (const value of values) value < 0 ? missing++ : counts[value]++;
  const order = categories.map((_, i) => i);
  if (categories.length > NAMED_GROUPS) order.sort((a, b) => counts[b] - counts[a]);
  const groups: Group[] = order.slice(0, NAMED_GROUPS).map((category, i) => ({
    name: categories[category], color: css(CATEGORY_COLORS[i]), count: counts[category], members: new Set([category]),
  }));
  const rest = order.slice(NAMED_GROUPS);
  if (rest.length) {
    const count = rest.reduce((sum, category) => sum + counts[category], 0);
    groups.push({ name: rest.length === 1 ? categories[rest[0]] : `${rest.length} others`, color: css(UNKNOWN), count, members: new Set(rest) });
  }
  if (missing) groups.push({ name: "missing", color: css(UNKNOWN), count: missing, members: new Set([-1]) });
  return groups;
}

export function plain(count: number, alpha: number): Coloring {
  const color = rgb(css("--real"));
  return { bytes: painted(count, () => color, alpha) };
}

export function coloring(reply: ColorReply, alpha: number): Coloring {
  const values = reply.arrays.values.data;
  const unknown = rgb(css(UNKNOWN));
  if (reply.categories) {
    const groups = groupsOf(values, reply.categories);
    const colors = new Map(groups.flatMap((group) => [...group.members].map((member) => [member, rgb(group.color)] as const)));
    return { bytes: painted(values.length, (i) => colors.get(values[i]) ?? unknown, alpha), groups };
  }
  const steps = NUMBER_COLORS.map(css);
  const colors = steps.map(rgb);
  const [low, high] = reply.inner ?? [reply.low ?? 0, reply.high ?? 1];
  let missing = 0;
  const colorOf = (i: number): Rgb => {
    if (Number.isNaN(values[i])) {
      missing++;
      return unknown;
    }
    const part = high > low ? (values[i] - low) / (high - low) : 0.5;
    return between(colors, Math.max(0, Math.min(1, part)));
  };
  const bytes = painted(values.length, colorOf, alpha);
  return { bytes, range: { low, high, unit: reply.unit ?? "", steps, missing, known: values.length - missing, waiting: (reply.progress ?? 1) < 1 } };
}

function between(colors: Rgb[], part: number): Rgb {
  const at = part * (colors.length - 1);
  const [i, rest] = [Math.min(Math.floor(at), colors.length - 2), at - Math.min(Math.floor(at), colors.length - 2)];
  return [0, 1, 2].map((c) => Math.round(colors[i][c] * (1 - rest) + colors[i + 1][c] * rest)) as Rgb;
}
