// What the server sends: docs/explore.md has the same list. A field that is absent is a thing the model cannot do.

export type Fields = Record<string, unknown>;

export interface NdArray {
  shape: number[];
  data: Float32Array | Int32Array | Uint8Array;
}

export interface Latent {
  index: number;
  name: string;
  kl: number | null;
  dead: boolean;
  low: number;
  high: number;
  mean: number;
  kind: string;
  /** Numbers of one one-hot vector, of which exactly one is 1. */
  group?: number;
}

export interface Column {
  name: string;
  kind: string;
  categories?: string[];
  unit?: string | null;
  low?: number | null;
  high?: number | null;
  /** What is given in every example of a conditional model: its usual value. */
  value?: string;
  given?: boolean;
}

export interface MapInfo {
  method: string;
  axes?: string[];
  shown?: number;
  note?: string | null;
}

export interface ColorChoice {
  id: string;
  name: string;
  kind: "number" | "category";
}

export interface Description {
  model: {
    title: string;
    summary?: string;
    rows?: number | null;
    bound?: { value: number; standard_error?: number | null; unit: string; of?: string | null } | null;
    version?: string;
    data?: string | null;
  };
  shown?: "table" | "image" | "curve";
  data: "table" | "image" | "curve" | null;
  num_rows?: number | null;
  latent: Latent[];
  space?: string;
  map?: MapInfo | null;
  colors?: ColorChoice[];
  can?: string[];
  columns?: Column[];
  given?: Column[];
  reasons?: Record<string, string>;
  command?: string | null;
}

export interface Distribution {
  name: string;
  kind: string;
  text: string;
  mass_missing?: number | null;
  density?: Density | null;
  categories?: { name: string; p: number }[] | null;
  spikes?: Spike[] | null;
  /** Whether few draws stand behind it. */
  uncertain?: boolean;
}

/** Heights at points; `step` is the distance of values that are rounded, `spikes` are values with a probability. */
export interface Density {
  x: number[];
  y: (number | null)[];
  labels?: string[] | null;
  step?: number | null;
}

export interface Spike {
  x: number;
  p: number;
  text: string;
}

export interface Cell {
  column: string;
  text: string;
  missing?: boolean;
}

// A row, a picture, a curve, or a series of them: the arrays come beside the header.
export interface Thing {
  kind?: "image" | "curve" | "row";
  cells?: Cell[];
  columns?: Distribution[];
  arrays: Record<string, NdArray>;
}

// Several things: pictures and curves with one more axis in front, rows as texts.
export interface Series {
  columns?: string[];
  rows?: (string | null)[][];
  notes?: string[];
  arrays: Record<string, NdArray>;
}

export interface Row extends Thing {
  code?: number[];
  score?: number | null;
  rank?: number | null;
  label?: string | null;
  name?: string | null;
}

export interface Decoded extends Thing {
  log_prior?: number | null;
  position?: [number, number] | null;
  z?: number[];
}

export interface Share {
  column: string;
  share: number;
  text?: string;
}
