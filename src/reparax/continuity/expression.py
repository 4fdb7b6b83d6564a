"""One element of a value as an expression of single numbers, evaluated at random numbers.

The results of operations on entire arrays are free variables of the expression, and so are values that cannot be
followed. This makes the expression more general than the program, never less.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from reparax.continuity import interval as iv
from reparax.continuity.elementwise import BINARY, COMPARISONS, LOGIC, ROUNDINGS, UNARY
from reparax.continuity.facts import Facts
from reparax.continuity.graph import Graph, Node

ELEMENTWISE = (
    set(UNARY) | set(BINARY) | set(COMPARISONS) | set(ROUNDINGS) | set(LOGIC)
    | {"div", "rem", "pow", "atan2", "select_n", "clamp", "abs", "sign", "is_finite", "integer_pow", "convert"}
)  # fmt: skip
SAME = {"stop_gradient", "trusted", "guarded"}
VIEWS = {
    "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "rev", "slice", "dynamic_slice", "gather",
}  # fmt: skip
TRIALS, MAXIMUM_BITS, MAXIMUM_SIZE = 256, 6, 1500
_LARGER = 100.0
# Half a unit in the last place of single precision: the error that a constant in the code may have.
ROUNDING = 2.0**-24
# Double precision loses this part of what single precision does, with room for a few operations.
_LOST, _MOST_DIGITS = 1e-6, 300
Number = Any
Estimate = tuple[Number, Number]


class Element(NamedTuple):
    """One element of a value.

    Args:
        number: The value in the graph.
        children: The indices of its operands in the expression; none for a free element.
        leaves: The free elements on which it depends.
    """

    number: int
    children: tuple[int, ...]
    leaves: frozenset[int]


class TooLarge(Exception):
    """The expression has too many elements."""


class Expression:
    """The expression of one element of a value.

    Args:
        graph: The program.
        facts: What is known of its values.
        root: The value.

    Raises:
        TooLarge: It has too many elements.
    """

    def __init__(self, graph: Graph, facts: list[Facts], root: int) -> None:
        self.graph, self.facts = graph, facts
        self.elements: list[Element] = []
        self._places: dict[tuple[int, tuple[Any, ...]], int] = {}
        self.root = self._expand(root)

    def node(self, place: int) -> Node:
        """The operation that computes an element."""
        return self.graph.nodes[self.elements[place].number]

    def known(self, place: int) -> Facts:
        """What the analysis knows of an element."""
        return self.facts[self.elements[place].number]

    def of(self, number: int) -> list[int]:
        """The elements of a value that the expression contains."""
        return [place for place, element in enumerate(self.elements) if element.number == number]

    def _expand(self, root: int) -> int:
        stack: list[tuple[int, tuple[Any, ...]]] = [(root, ())]
        while stack:
            key = stack[-1]
            if key in self._places:
                stack.pop()
                continue
            wanted = self._operands(*key)
            missing = [operand for operand in wanted if operand not in self._places]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            self._place(key, tuple(self._places[operand] for operand in wanted))
        return self._places[root, ()]

    def _place(self, key: tuple[int, tuple[Any, ...]], children: tuple[int, ...]) -> None:
        node = self.graph.nodes[key[0]]
        if node.op in VIEWS | SAME and children:
            self._places[key] = children[0]
            return
        if len(self.elements) >= MAXIMUM_SIZE:
            raise TooLarge
        place = len(self.elements)
        free = not children and node.op != "constant"
        leaves = frozenset([place]) if free else frozenset().union(*(self.elements[c].leaves for c in children))
        self.elements.append(Element(key[0], children, leaves))
        self._places[key] = place

    def _operands(self, number: int, view: tuple[Any, ...]) -> list[tuple[int, tuple[Any, ...]]]:
        node = self.graph.nodes[number]
        if node.op in VIEWS:
            operand, *indices = node.args
            shape = self.graph.nodes[operand].shape
            if any(self.facts[index].depends for index in indices) and any(
                self.facts[index].pending or self.facts[index].jumps for index in indices
            ):
                return []
            seen = () if _single(shape) else (*view, (node.op, node.params, shape, tuple(indices)))
            return [(operand, seen)]
        if node.op in SAME:
            return [(node.args[0], view)]
        if node.op not in ELEMENTWISE or not _is_real(node.dtype) or not _takes_reals(node, self.graph):
            return []
        return [(a, _seen(self.graph.nodes[a].shape, node.shape, view)) for a in node.args]


def _seen(shape: tuple[int, ...], outer: tuple[int, ...], view: tuple[Any, ...]) -> tuple[Any, ...]:
    """Which element of an operand an element of a result depends on; axes of size one are repeated."""
    if _single(shape):
        return ()
    return view if shape == outer else (*view, ("repeated", shape, outer))


def _single(shape: tuple[int, ...]) -> bool:
    return math.prod(shape) == 1


def _is_real(dtype: Any) -> bool:
    return (dtype is not None and np.dtype(dtype).kind in "fiub") or str(dtype) in {"bfloat16", "float8_e4m3fn"}


def _takes_reals(node: Node, graph: Graph) -> bool:
    if node.op in LOGIC:
        return graph.nodes[node.args[0]].dtype == np.bool_
    if node.op in {"div", "rem", "pow"}:
        return np.dtype(node.dtype).kind not in "iu"
    return True


class Trial:
    """Values of an expression at random numbers, the same for every evaluation.

    Args:
        expression: The expression.
        seed: Which random numbers.
    """

    def __init__(self, expression: Expression, seed: int) -> None:
        self.expression = expression
        self.noise = np.random.default_rng(seed)
        # Of all sizes, because some differences show only near zero, and others only far from it.
        self.decades = ((-2.0, 1.0), (-3.0, 0.0), (-1.0, 2.0))[seed % 3]
        self.bits = 0
        self.valid = np.ones(TRIALS, bool)
        self._free: dict[int, np.ndarray] = {}
        self._decided: dict[int, list[tuple[tuple[Number, ...], Number]]] = {}
        self.eps = ROUNDING

    @property
    def undecided(self) -> bool:
        """Whether a value that is not a variable was treated as free."""
        return bool(self._decided)

    def evaluate(self, assigned: dict[int, Estimate], forced: dict[int, Number]) -> list[Estimate]:
        """The value of every element with a bound on its rounding error, some of them given."""
        values: list[Estimate] = []
        with np.errstate(all="ignore"):
            for place, element in enumerate(self.expression.elements):
                if place in forced:
                    values.append((np.float64(forced[place]) if np.ndim(forced[place]) == 0 else forced[place], 0.0))
                elif place in assigned:
                    values.append(assigned[place])
                else:
                    values.append(self._value(place, [values[child] for child in element.children]))
        return values

    def at(self, place: int) -> Estimate:
        """The value of one element, computing only the elements on which it depends."""
        wanted, stack = set(), [place]
        while stack:
            current = stack.pop()
            if current not in wanted:
                wanted.add(current)
                stack.extend(self.expression.elements[current].children)
        values: dict[int, Estimate] = {}
        with np.errstate(all="ignore"):
            for current in sorted(wanted):
                children = self.expression.elements[current].children
                values[current] = self._value(current, [values[child] for child in children])
        return values[place]

    def _value(self, place: int, operands: list[Estimate]) -> Estimate:
        node = self.expression.node(place)
        if node.op == "constant":
            value = np.float64(np.nan if node.params == "nan" else np.real(node.params))
            return value, self.eps * abs(value) if np.isfinite(value) else np.float64(0.0)
        if not operands:
            return self._atom(place), np.float64(0.0)
        if node.op in COMPARISONS:
            return self._compared(place, node, operands), np.float64(0.0)
        if node.op in ROUNDINGS or node.op in {"sign", "rem"}:
            return self._stepped(place, node, operands)
        if node.op in {"max", "min", "abs", "clamp"}:
            return self._bent(place, node, operands)
        if node.op == "select_n":
            return _selected(operands)
        return self._smooth(place, node, operands)

    def _atom(self, place: int) -> np.ndarray:
        if place not in self._free:
            self._free[place] = self._random(self.expression.node(place), self.expression.known(place).interval)
        return self._free[place]

    def _random(self, node: Node, interval: iv.Interval) -> np.ndarray:
        if node.dtype == np.bool_:
            return self.noise.integers(0, 2, TRIALS).astype(np.float64)
        size = 10 ** self.noise.uniform(*self.decades, TRIALS)
        # Some far larger ones, for small differences between large values, such as masses and numbers of particles.
        size[-TRIALS // 4 :] *= _LARGER
        if math.isfinite(interval.low) and math.isfinite(interval.high):
            return interval.low + (interval.high - interval.low) * self.noise.uniform(0.0, 1.0, TRIALS)
        if math.isfinite(interval.low):
            return interval.low + size
        if math.isfinite(interval.high):
            return interval.high - size
        return size * self.noise.choice([-1.0, 1.0], TRIALS)

    def anything(self, place: int) -> np.ndarray:
        """Numbers of any size, for the location where a rounding changes."""
        return self._decide(~place, [], lambda: self._random(self.expression.node(place), iv.REAL))

    def _decide(self, place: int, operands: list[Estimate], fresh: Any) -> Number:
        """A free value, the same for the same operands; for different operands it is unrelated."""
        values = tuple(value for value, _ in operands)
        for seen, result in self._decided.setdefault(place, []):
            if all(_alike(a, b) for a, b in zip(seen, values, strict=True)):
                return result
        result = fresh()
        self._decided[place].append((values, result))
        return result

    def _bit(self) -> np.ndarray:
        """Both truth values, in all combinations with those of other elements."""
        bit = (np.arange(TRIALS) >> self.bits) & 1
        self.bits += 1
        return bit.astype(np.float64)

    def _compared(self, place: int, node: Node, operands: list[Estimate]) -> Number:
        (p, p_error), (q, q_error) = operands
        if node.op in {"eq", "ne"} and self.expression.known(place).interval.value is not None:
            return np.float64(self.expression.known(place).interval.value)
        constant = np.ndim(p) == 0 and np.ndim(q) == 0
        if constant and not (np.isfinite(p) and np.isfinite(q)):
            return np.float64(COMPARISONS[node.op](p, q))
        if constant and abs(p - q) > 2 * (p_error + q_error):
            return np.float64(COMPARISONS[node.op](p, q))
        children = self.expression.elements[place].children
        order = _ordered(*(self._range(c, v) for c, v in zip(children, (p, q), strict=True)))
        if order is not None:
            return np.float64(COMPARISONS[node.op](order, 0))
        return self._decide(place, operands, self._bit)

    def _range(self, place: int, value: Number) -> iv.Interval:
        return iv.point(float(value)) if np.ndim(value) == 0 else self.expression.known(place).interval

    def _stepped(self, place: int, node: Node, operands: list[Estimate]) -> Estimate:
        value, error = operands[0]
        zero = np.float64(0.0)
        if node.op == "sign":
            if np.ndim(value) == 0 and abs(value) > 2 * error:
                return np.sign(value), zero
            known = self._range(self.expression.elements[place].children[0], value)
            if known.nonzero:
                return np.float64(1.0 if known.positive else -1.0), zero
            return self._decide(place, operands, lambda: 2 * self._bit() - 1), zero
        if all(np.ndim(v) == 0 for v, _ in operands):
            quotient = value / operands[1][0] if node.op == "rem" else value + (0.5 if node.op == "round" else 0.0)
            if abs(quotient - np.round(quotient)) > 1e-4:
                exact = np.fmod(value, operands[1][0]) if node.op == "rem" else ROUNDINGS[node.op](value)
                return exact, 4 * error if node.op == "rem" else zero
        return self._decide(place, operands, lambda: self._random(node, iv.REAL)), zero

    def _bent(self, place: int, node: Node, operands: list[Estimate]) -> Estimate:
        values = [v for v, _ in operands]
        if all(np.ndim(v) == 0 for v in values):
            return _bend(node.op, values), np.max([e for _, e in operands])
        if node.op == "abs":
            known = self.expression.known(self.expression.elements[place].children[0]).interval
            sign = 1.0 if known.low >= 0 else -1.0 if known.high <= 0 else None
            factor = sign if sign is not None else self._decide(place, operands, lambda: 2 * self._bit() - 1)
            return factor * values[0], operands[0][1]
        if node.op == "clamp":
            low, x, high = operands
            inside = self._decide(place, operands, self._bit)
            edge = self._decide(~place, operands, self._bit)
            return _either(inside, x, _either(edge, low, high))
        if all(_alike(values[0], v) for v in values[1:]):
            return operands[0]
        children = self.expression.elements[place].children
        order = _ordered(*(self._range(c, v) for c, v in zip(children, values, strict=True)))
        if order is not None and order != 0:
            return operands[0] if (order > 0) == (node.op == "max") else operands[1]
        return _either(self._decide(place, operands, self._bit), *operands)

    def _smooth(self, place: int, node: Node, operands: list[Estimate]) -> Estimate:
        values, errors = [v for v, _ in operands], [e for _, e in operands]
        varies = any(np.ndim(v) for v in values)
        if node.op in UNARY:
            rule = UNARY[node.op]
            if varies and rule.branched:
                return self._fresh(place, operands)
            if varies:
                self.valid &= np.abs(values[0]) <= rule.window
            return self._rounded(rule.formula, values[0], errors[0])
        if node.op in {"pow", "atan2"}:
            is_integer = node.op == "pow" and np.ndim(values[1]) == 0 and values[1] == np.round(values[1])
            if varies and not is_integer:
                return self._fresh(place, operands)
            function = np.power if node.op == "pow" else np.arctan2
            result = function(*values)
            return result, self._spread(function, values, errors, result)
        if node.op == "integer_pow":
            exponent = dict(node.params)["y"]
            return self._rounded(lambda x: np.power(x, float(exponent)), values[0], errors[0])
        if node.op == "is_finite":
            return np.isfinite(values[0]).astype(np.float64), np.float64(0.0)
        if node.op in LOGIC:
            return LOGIC[node.op](*(v != 0 for v in values)).astype(np.float64), np.float64(0.0)
        if node.op == "convert":
            return operands[0]
        return self._arithmetic(node.op, values, errors)

    def _arithmetic(self, op: str, values: list[Number], errors: list[Number]) -> Estimate:
        (a, b), (a_error, b_error) = values, errors
        if op == "mul":
            result = a * b
            # 0 times an infinite error is 0.
            error = np.where(a == 0, 0, abs(a)) * b_error + abs(b) * a_error
        elif op == "div":
            result = a / b
            error = (a_error + abs(result) * b_error) / abs(b)
        else:
            result = a - b if op == "sub" else a + b
            error = a_error + b_error
        return _collapsed(result, error + self.eps * abs(result))

    def _fresh(self, place: int, operands: list[Estimate]) -> Estimate:
        interval = self.expression.known(place).interval
        node = self.expression.node(place)
        return self._decide(place, operands, lambda: self._random(node, interval)), np.float64(0.0)

    def _rounded(self, formula: Any, value: Number, error: Number) -> Estimate:
        result = formula(value)
        return result, self._spread(formula, [value], [error], result)

    def _spread(self, formula: Any, values: list[Number], errors: list[Number], result: Number) -> Number:
        total = self.eps * np.abs(result)
        if not any(np.any(error) for error in errors):
            return total
        for place, error in enumerate(errors):
            moved = [[v + sign * error if i == place else v for i, v in enumerate(values)] for sign in (1, -1)]
            changes = [np.abs(formula(*m) - result) for m in moved]
            # One side may leave the domain.
            total = total + np.fmax(*changes)
        return total


def _collapsed(value: Number, error: Number) -> Estimate:
    """One number instead of an array of equal ones, if random terms have cancelled.

    Equal are those that differ by what double precision loses where single precision loses ``error``.
    """
    most = np.max(error)
    if np.ndim(value) and np.isfinite(value[0]) and np.isfinite(most) and np.ptp(value) <= _LOST * most:
        return np.float64(_without_noise(float(np.mean(value)), float(_LOST * most))), most
    return value, error if np.ndim(value) else most


def _without_noise(value: float, noise: float) -> float:
    """A number rounded to the digits that are above its noise."""
    if noise <= 0 or not math.isfinite(value):
        return value
    digits = -math.floor(math.log10(noise))
    return round(value, digits) if digits < _MOST_DIGITS else value


def _alike(a: Number, b: Number) -> bool:
    return a is b or bool(np.all((a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= 1e-13 * np.abs(a))))


def _either(bit: Number, one: Estimate, other: Estimate) -> Estimate:
    return np.where(bit > 0, one[0], other[0]), np.where(bit > 0, one[1], other[1])


def _selected(operands: list[Estimate]) -> Estimate:
    (which, _), *cases = operands
    if np.ndim(which) == 0:
        return cases[int(np.clip(which, 0, len(cases) - 1))] if np.isfinite(which) else (np.float64(np.nan), 0.0)
    index = np.clip(np.nan_to_num(which), 0, len(cases) - 1).astype(int)
    values = np.stack([np.broadcast_to(v, (TRIALS,)) for v, _ in cases])
    errors = np.stack([np.broadcast_to(e, (TRIALS,)) for _, e in cases])
    return values[index, np.arange(TRIALS)], errors[index, np.arange(TRIALS)]


def _bend(op: str, values: list[Number]) -> Number:
    if op == "abs":
        return np.abs(values[0])
    if op == "clamp":
        return np.minimum(np.maximum(values[1], values[0]), values[2])
    return np.maximum(*values) if op == "max" else np.minimum(*values)


def _ordered(p: iv.Interval, q: iv.Interval) -> int | None:
    """The sign of p - q if the intervals determine it."""
    if p.low > q.high or (p.low == q.high and (p.low_open or q.high_open)):
        return 1
    if p.high < q.low or (p.high == q.low and (p.high_open or q.low_open)):
        return -1
    return None
