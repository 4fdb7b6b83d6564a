// The decoder: operations on the arrays of one example, in the order of the file; numbers have 32 bits, as in the model.
"use strict";
const ARRAYS = { f: Float32Array, i: Int32Array, b: Uint8Array };
function decoded(base64, kind) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new ARRAYS[kind](bytes.buffer);
}
const size = (shape) => shape.reduce((a, b) => a * b, 1);
const stridesOf = (shape) => shape.map((_, i) => size(shape.slice(i + 1)));
// The place of each number of a result in an operand that is broadcast to it, or moved.
function places(shape, strides, start) {
  let list = new Int32Array(1); list[0] = start || 0;
  shape.forEach((length, axis) => {
    const next = new Int32Array(list.length * length);
    for (let i = 0, k = 0; i < list.length; i++) for (let j = 0; j < length; j++) next[k++] = list[i] + j * strides[axis];
    list = next;
  });
  return list;
}
function broadcastPlaces(from, to) {
  const strides = stridesOf(from), missing = to.length - from.length;
  return places(to, to.map((_, axis) => (axis < missing || from[axis - missing] === 1 ? 0 : strides[axis - missing])));
}
function erf(x) {
  const t = Math.abs(x);
  if (t > 6) return Math.sign(x);
  if (t < 2.5) { let sum = t, term = t; for (let n = 1; n < 60; n++) { term *= -t * t / n; sum += term / (2 * n + 1); } return Math.sign(x) * sum * 1.1283791670955126; }
  let fraction = 0; for (let n = 60; n > 0; n--) fraction = n / 2 / (t + fraction);
  return Math.sign(x) * (1 - Math.exp(-t * t) / ((t + fraction) * 1.772453850905516));
}
const even = (x) => { const r = Math.round(x); return Math.abs(x % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r; };
const NAN = (a, b, r) => (a !== a || b !== b ? NaN : r);
const ONE = {
  Neg: (x) => -x, Log: Math.log, Sqrt: Math.sqrt, Abs: Math.abs, Sign: Math.sign,
  Floor: Math.floor, Ceil: Math.ceil, Round: even, Erf: erf, Sin: Math.sin,
  Cos: Math.cos, Tan: Math.tan, Sinh: Math.sinh, Cosh: Math.cosh, Asin: Math.asin, Acos: Math.acos, Asinh: Math.asinh,
  Acosh: Math.acosh, Atanh: Math.atanh, Reciprocal: (x) => 1 / x, Not: (x) => (x ? 0 : 1), IsNaN: (x) => (x !== x ? 1 : 0),
};
const TWO = {
  Pow: Math.pow, Mod: (a, b) => a % b,
  Max: (a, b) => NAN(a, b, Math.max(a, b)), Min: (a, b) => NAN(a, b, Math.min(a, b)), And: (a, b) => a & b, Or: (a, b) => a | b,
  Xor: (a, b) => a ^ b, Equal: (a, b) => +(a === b), Less: (a, b) => +(a < b), LessOrEqual: (a, b) => +(a <= b),
  Greater: (a, b) => +(a > b), GreaterOrEqual: (a, b) => +(a >= b),
};
// The loops of the operations that take most of the time: a loop that calls a function for each number takes several times longer.
const LOOPS = {
  Add: (o, a, b, p, q) => { for (let i = 0; i < o.length; i++) o[i] = a[p ? p[i] : i] + b[q ? q[i] : i]; },
  Sub: (o, a, b, p, q) => { for (let i = 0; i < o.length; i++) o[i] = a[p ? p[i] : i] - b[q ? q[i] : i]; },
  Mul: (o, a, b, p, q) => { for (let i = 0; i < o.length; i++) o[i] = a[p ? p[i] : i] * b[q ? q[i] : i]; },
  Div: (o, a, b, p, q) => { for (let i = 0; i < o.length; i++) o[i] = a[p ? p[i] : i] / b[q ? q[i] : i]; },
  Sigmoid: (o, a) => { for (let i = 0; i < o.length; i++) o[i] = 1 / (1 + Math.exp(-a[i])); },
  Exp: (o, a) => { for (let i = 0; i < o.length; i++) o[i] = Math.exp(a[i]); },
  Tanh: (o, a) => { for (let i = 0; i < o.length; i++) o[i] = Math.tanh(a[i]); },
};
const REDUCE = {
  ReduceSum: [0, (a, b) => a + b], ReduceProd: [1, (a, b) => a * b], ReduceMax: [-Infinity, TWO.Max], ReduceMin: [Infinity, TWO.Min],
};
// What computes a node from the arrays of its inputs into its own; what depends on shapes alone is computed once.
function prepared(node, shapes, arrays, out) {
  const { op, set } = node, count = out.length, from = shapes[0], [x, y] = arrays;
  const move = (index) => () => { for (let i = 0; i < count; i++) out[i] = x[index[i]]; };
  const spread = () => shapes.map((each) => (size(each) === count ? null : broadcastPlaces(each, node.shape)));
  if (LOOPS[op]) { const loop = LOOPS[op], [p, q] = spread(); return () => loop(out, x, y, p, q); }
  if (ONE[op]) { const f = ONE[op]; return () => { for (let i = 0; i < count; i++) out[i] = f(x[i]); }; }
  if (TWO[op]) { const f = TWO[op], [p, q] = spread(); return () => { for (let i = 0; i < count; i++) out[i] = f(x[p ? p[i] : i], y[q ? q[i] : i]); }; }
  if (op === "Where") { const [p, q, r] = spread(), no = arrays[2]; return () => { for (let i = 0; i < count; i++) out[i] = x[p ? p[i] : i] ? y[q ? q[i] : i] : no[r ? r[i] : i]; }; }
  if (op === "Reshape") return null;
  if (op === "Expand") return move(broadcastPlaces(from, node.shape));
  if (op === "Transpose") { const strides = stridesOf(from); return move(places(node.shape, set.order.map((axis) => strides[axis]))); }
  if (op === "Slice") { const strides = stridesOf(from); return move(places(node.shape, strides, set.starts[0] * strides[set.axes[0]])); }
  if (op === "Cast") return node.kind === "b" ? () => { for (let i = 0; i < count; i++) out[i] = x[i] ? 1 : 0; } : () => out.set(x);
  if (op === "Gather" || op === "GatherElements") return move(y);
  if (op === "Concat") return concatenated(out, arrays, size(node.shape.slice(0, set.axis)));
  if (REDUCE[op]) {
    const [start, f] = REDUCE[op], kept = stridesOf(node.shape), strides = [], sums = new Float64Array(count); let at = 0;
    from.forEach((_, axis) => strides.push(set.axes.includes(axis) ? 0 : kept[at++]));
    const index = places(from, strides);
    return () => { sums.fill(start); for (let i = 0; i < x.length; i++) sums[index[i]] = f(sums[index[i]], x[i]); out.set(sums); };
  }
  if (op === "ArgMax" || op === "CumSum") return alongAxis(op, x, out, from, set);
  if (op === "MatMul") return product(x, y, out, shapes);
  if (op === "Conv") return convolution(x, y, out, node, shapes[1]);
  throw new Error("unknown operation " + op);
}
function concatenated(out, arrays, outer) {
  const all = out.length / outer;
  return () => {
    let at = 0;
    arrays.forEach((array) => { const part = array.length / outer; for (let i = 0; i < outer; i++) out.set(array.subarray(i * part, (i + 1) * part), i * all + at); at += part; });
  };
}
function alongAxis(op, x, out, from, { axis, reverse }) {
  const step = size(from.slice(axis + 1)), length = from[axis], outer = size(from.slice(0, axis));
  return () => {
    for (let i = 0; i < outer; i++) for (let k = 0; k < step; k++) {
      let best = 0, total = 0; const first = i * length * step + k;
      for (let j = 0; j < length; j++) {
        const at = first + (reverse ? length - 1 - j : j) * step; total += x[at];
        if (op === "CumSum") out[at] = total; else if (x[at] > x[first + best * step]) best = j;
      }
      if (op === "ArgMax") out[i * step + k] = best;
    }
  };
}
// Products of matrices; four rows of the second one are added at once, which halves the time.
function product(a, b, out, [left, right]) {
  const n = left[left.length - 2], k = left[left.length - 1], m = right[right.length - 1], row = new Float64Array(m);
  const line = (p, q) => {
    let j = 0; row.fill(0);
    for (; j + 3 < k; j += 4) {
      const u = a[p + j], v = a[p + j + 1], w = a[p + j + 2], x = a[p + j + 3], r = q + j * m, s = r + m, t = s + m, y = t + m;
      if (u !== 0 || v !== 0 || w !== 0 || x !== 0) for (let l = 0; l < m; l++) row[l] += u * b[r + l] + v * b[s + l] + w * b[t + l] + x * b[y + l];
    }
    for (; j < k; j++) for (let l = 0, r = q + j * m, value = a[p + j]; l < m; l++) row[l] += value * b[r + l];
  };
  return () => {
    for (let t = 0, o = 0; o < out.length; t++) {
      const p = left.length > 2 ? t * n * k : 0, q = right.length > 2 ? t * k * m : 0;
      for (let i = 0; i < n; i++, o += m) { line(p + i * k, q); out.set(row, o); }
    }
  };
}
// A convolution of images (channel, ...places) with a kernel (out, channel of its group, ...places), along any number of axes.
function convolution(x, weights, out, { shape, set }, kernel) {
  const [channels, ...sizes] = set.image, [filters, deep, ...window] = kernel, batch = shape[0], strides = stridesOf(sizes);
  const origin = places(shape.slice(2), strides.map((stride, axis) => stride * set.strides[axis]));
  const tap = places(window, strides.map((stride, axis) => stride * set.dilations[axis])), area = size(sizes), made = origin.length, sums = new Float64Array(made);
  return () => {
    for (let n = 0; n < batch; n++) for (let o = 0; o < filters; o++) {
      sums.fill(0); const group = Math.floor(o * set.group / filters);
      for (let c = 0; c < deep; c++) for (let k = 0; k < tap.length; k++) {
        const weight = weights[(o * deep + c) * tap.length + k], first = (n * channels + group * deep + c) * area + tap[k];
        if (weight !== 0) for (let i = 0; i < made; i++) sums[i] += weight * x[first + origin[i]];
      }
      out.set(sums, (n * filters + o) * made);
    }
  };
}
// The function of a graph: from an array for each input to an array for each output, by name. Every value has one array, which the
// next call writes again; nodes that depend on no changed input are not computed anew.
function functionOf(graph) {
  const shapes = {}, arrays = Object.create(null), changed = new Set(), steps = [];
  graph.inputs.forEach(({ name, shape }) => { shapes[name] = shape; arrays[name] = new Float32Array(size(shape)).fill(NaN); });
  graph.constants.forEach(({ name, shape, kind, data }) => { shapes[name] = shape; arrays[name] = decoded(data, kind); });
  graph.nodes.forEach((node) => {
    const [first] = node.in; shapes[node.out] = node.shape;
    arrays[node.out] = node.op === "Reshape" ? arrays[first] : new ARRAYS[node.kind](size(node.shape));
    steps.push([node, prepared(node, node.in.map((name) => shapes[name]), node.in.map((name) => arrays[name]), arrays[node.out])]);
  });
  let begun = false;
  return (inputs) => {
    changed.clear();
    for (const { name } of graph.inputs) {
      const now = arrays[name], next = Float32Array.from(inputs[name]);
      if (next.some((value, i) => !Object.is(value, now[i]))) { now.set(next); changed.add(name); }
    }
    for (const [node, run] of steps) if (!begun || node.in.some((name) => changed.has(name))) { if (run) run(); changed.add(node.out); }
    begun = true;
    return Object.fromEntries(Object.entries(graph.outputs).map(([name, from]) => [name, arrays[from]]));
  };
}
