// The decoder: operations on one example, in the order of the file; numbers are 64-bit.
"use strict";
function decoded(base64, kind) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return Float64Array.from({ f4: Float32Array, i4: Int32Array, u1: Uint8Array }[kind] === Uint8Array ? bytes
    : new { f4: Float32Array, i4: Int32Array }[kind](bytes.buffer));
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
  Neg: (x) => -x, Exp: Math.exp, Log: Math.log, Tanh: Math.tanh, Sqrt: Math.sqrt, Abs: Math.abs, Sign: Math.sign,
  Floor: Math.floor, Ceil: Math.ceil, Round: even, Sigmoid: (x) => 1 / (1 + Math.exp(-x)), Erf: erf, Sin: Math.sin,
  Cos: Math.cos, Tan: Math.tan, Sinh: Math.sinh, Cosh: Math.cosh, Asinh: Math.asinh, Acosh: Math.acosh,
  Atanh: Math.atanh, Reciprocal: (x) => 1 / x, Not: (x) => (x ? 0 : 1), IsNaN: (x) => (x !== x ? 1 : 0),
};
const TWO = {
  Add: (a, b) => a + b, Sub: (a, b) => a - b, Mul: (a, b) => a * b, Div: (a, b) => a / b, Pow: Math.pow, Mod: (a, b) => a % b,
  Max: (a, b) => NAN(a, b, Math.max(a, b)), Min: (a, b) => NAN(a, b, Math.min(a, b)), And: (a, b) => a & b, Or: (a, b) => a | b,
  Xor: (a, b) => a ^ b, Equal: (a, b) => +(a === b), Less: (a, b) => +(a < b), LessOrEqual: (a, b) => +(a <= b),
  Greater: (a, b) => +(a > b), GreaterOrEqual: (a, b) => +(a >= b),
};
const REDUCE = {
  ReduceSum: [0, (a, b) => a + b], ReduceProd: [1, (a, b) => a * b], ReduceMax: [-Infinity, TWO.Max], ReduceMin: [Infinity, TWO.Min],
};
// The function that computes a node from the arrays of its inputs; what depends on shapes alone is computed once.
function prepared(node, shapes) {
  const { op, shape, set } = node, count = size(shape), from = shapes[0];
  const pick = (index) => (x) => { const out = new Float64Array(index.length); for (let i = 0; i < out.length; i++) out[i] = x[index[i]]; return out; };
  if (ONE[op]) { const f = ONE[op]; return (x) => x.map((value) => f(value)); }
  if (TWO[op] || op === "Where") {
    const index = shapes.map((each) => (size(each) === count ? null : broadcastPlaces(each, shape))), f = TWO[op];
    const read = (array, which) => (index[which] ? (i) => array[index[which][i]] : (i) => array[i]);
    return (...arrays) => {
      const [a, b, c] = arrays.map(read), out = new Float64Array(count);
      const whole = node.whole && op === "Div";
      for (let i = 0; i < count; i++) { const value = f ? f(a(i), b(i)) : a(i) ? b(i) : c(i); out[i] = whole ? Math.trunc(value) : value; }
      return out;
    };
  }
  if (op === "Reshape") return (x) => x;
  if (op === "Expand") return pick(broadcastPlaces(from, shape));
  if (op === "Transpose") { const strides = stridesOf(from); return pick(places(shape, set.order.map((axis) => strides[axis]))); }
  if (op === "Slice") { const strides = stridesOf(from); return pick(places(shape, strides, set.starts[0] * strides[set.axes[0]])); }
  if (op === "Cast") return node.whole ? (x) => x.map(Math.trunc) : node.truth ? (x) => x.map((v) => (v ? 1 : 0)) : (x) => x;
  if (op === "Gather") return (x, index) => { const out = new Float64Array(count); for (let i = 0; i < count; i++) out[i] = x[index[i]]; return out; };
  if (op === "GatherElements") return (x, index) => index.map((place) => x[place]);
  if (op === "Concat") {
    const inner = size(shape.slice(set.axis + 1)), outer = size(shape.slice(0, set.axis)), all = shape[set.axis] * inner;
    return (...arrays) => {
      const out = new Float64Array(count); let at = 0;
      arrays.forEach((array) => { const part = array.length / outer; for (let i = 0; i < outer; i++) out.set(array.subarray(i * part, (i + 1) * part), i * all + at); at += part; });
      return out;
    };
  }
  if (REDUCE[op]) {
    const [start, f] = REDUCE[op], kept = stridesOf(shape), strides = []; let at = 0;
    from.forEach((_, axis) => strides.push(set.axes.includes(axis) ? 0 : kept[at++]));
    const index = places(from, strides);
    return (x) => { const out = new Float64Array(count).fill(start); for (let i = 0; i < x.length; i++) out[index[i]] = f(out[index[i]], x[i]); return out; };
  }
  if (op === "ArgMax" || op === "CumSum") {
    const axis = set.axis, step = size(from.slice(axis + 1)), length = from[axis], outer = size(from.slice(0, axis));
    return (x) => {
      const out = new Float64Array(count);
      for (let i = 0; i < outer; i++) for (let k = 0; k < step; k++) {
        let best = 0, total = 0; const first = i * length * step + k;
        for (let j = 0; j < length; j++) {
          const at = first + (set.reverse ? length - 1 - j : j) * step; total += x[at];
          if (op === "CumSum") out[at] = total; else if (x[at] > x[first + best * step]) best = j;
        }
        if (op === "ArgMax") out[i * step + k] = best;
      }
      return out;
    };
  }
  if (op === "MatMul") {
    const [left, right] = shapes, n = left[left.length - 2], k = left[left.length - 1], m = right[right.length - 1], many = count / (n * m);
    return (a, b) => {
      const out = new Float64Array(count);
      for (let t = 0; t < many; t++) {
        const p = left.length > 2 ? t * n * k : 0, q = right.length > 2 ? t * k * m : 0;
        for (let i = 0; i < n; i++) for (let j = 0; j < k; j++) {
          const value = a[p + i * k + j]; if (value === 0) continue;
          for (let l = 0, o = (t * n + i) * m, r = q + j * m; l < m; l++) out[o + l] += value * b[r + l];
        }
      }
      return out;
    };
  }
  throw new Error("unknown operation " + op);
}
function decoderOf(graph) {
  const shapes = {}, constants = {};
  graph.inputs.forEach((input) => { shapes[input.name] = input.shape; });
  graph.constants.forEach((each) => { shapes[each.name] = each.shape; constants[each.name] = decoded(each.data, each.kind); });
  const steps = graph.nodes.map((node) => { shapes[node.out] = node.shape; return [node, prepared(node, node.in.map((name) => shapes[name]))]; });
  return (z) => {
    const values = Object.assign(Object.create(null), constants); values[graph.inputs[0].name] = Float64Array.from(z);
    for (const [node, run] of steps) values[node.out] = run(...node.in.map((name) => values[name]));
    return Object.fromEntries(Object.entries(graph.outputs).map(([name, from]) => [name, values[from]]));
  };
}
