"""Whether a value is the same on both sides of the location where one of its operands changes.

Where a comparison p < q changes, p equals q. One side of the equation is solved for a variable, all other free values
are drawn at random, and the value is computed with either outcome of the comparison. Expressions are analytic in the
free values (the result of an operation that is not analytic is a free value itself), so that two expressions that agree
at random points agree everywhere, with probability one, up to rounding in single precision.
"""

import math

import numpy as np

from reparax.continuity.elementwise import COMPARISONS, ROUNDINGS, UNARY, power_is_even
from reparax.continuity.expression import (
    MAXIMUM_BITS,
    MAXIMUM_SIZE,
    ROUNDING,
    TRIALS,
    Estimate,
    Expression,
    TooLarge,
    Trial,
)
from reparax.continuity.facts import Facts, Jump, Jumps
from reparax.continuity.graph import Graph

_ATTEMPTS, _ENOUGH, _ROUNDING_AT_MOST = 3, 2, 1e-5
_MAXIMUM_SOLUTIONS = 8
Solution = dict[int, Estimate]


class Budget:
    """How many elements may still be evaluated, so that a program with many switches is refused in finite time."""

    def __init__(self, left: int) -> None:
        self.left = left


def remaining(graph: Graph, facts: list[Facts], number: int, candidates: Jumps, budget: Budget) -> Jumps:
    """Those of several changes across which a value is not shown to be continuous."""
    if budget.left < 0:
        return candidates
    try:
        expression = Expression(graph, facts, number)
    except TooLarge:
        budget.left -= MAXIMUM_SIZE
        return candidates
    left = set()
    for jump in candidates:
        # Both outcomes are computed, more than once if points cannot be used.
        budget.left -= 4 * len(expression.elements)
        if budget.left < 0 or not _harmless(expression, jump):
            left.add(jump)
    return frozenset(left)


def constant_value(graph: Graph, facts: list[Facts], number: int) -> float | None:
    """The only value of an expression at random points; ``None`` if it has several or is not analytic."""
    try:
        expression = Expression(graph, facts, number)
    except TooLarge:
        return None
    trial = Trial(expression, 0)
    values = np.broadcast_to(trial.evaluate({}, {})[expression.root][0], trial.valid.shape)[trial.valid]
    if trial.undecided or len(values) < TRIALS // 2 or not np.isfinite(values).all():
        return None
    middle = float(np.median(values))
    return float(np.round(middle, 9)) if np.ptp(values) <= 1e-12 * (1 + abs(middle)) else None


def _harmless(expression: Expression, jump: Jump) -> bool:
    places = expression.of(jump.cause) if jump.cause >= 0 else []
    return bool(places) and all(_continuous_across(expression, place) for place in places)


def _continuous_across(expression: Expression, place: int) -> bool:
    for attempt in range(_ATTEMPTS):
        verdicts = []
        # Solving for one side may succeed where solving for the other does not: either is a proof.
        for side in range(3):
            verdicts.append(_tried(Trial(expression, attempt), place, side))
            if verdicts[-1]:
                return True
        if None not in verdicts:
            return False
    return False


def _tried(trial: Trial, place: int, side: int) -> bool | None:
    """Whether the root is the same for all outcomes at ``place``; ``None`` if too few points could be used."""
    with np.errstate(all="ignore"):
        solutions = _boundaries(trial, place, side)
        if solutions is None or len(solutions) > _MAXIMUM_SOLUTIONS:
            return False
        for solution in solutions:
            roots = [
                trial.evaluate(solution, forced)[trial.expression.root] for forced in _outcomes(trial, place, solution)
            ]
            if trial.bits > MAXIMUM_BITS:
                return False
            verdict = _equal(trial, roots)
            if not verdict:
                return verdict
    return True


def _equal(trial: Trial, roots: list[Estimate]) -> bool | None:
    first, first_error = (np.broadcast_to(part, trial.valid.shape) for part in roots[0])
    same = ~np.isnan(first)
    for value, error in roots[1:]:
        # A small difference may be due to rounding; the cap is there because large error bounds would allow anything.
        allowed = np.minimum(2 * (error + first_error), _ROUNDING_AT_MOST * np.maximum(1.0, np.abs(first)))
        same = same & ((value == first) | (np.isfinite(first) & (np.abs(value - first) <= allowed)))
    combinations = 1 << trial.bits
    usable = trial.valid.reshape(-1, combinations)
    if not np.all(same | ~trial.valid):
        return False
    return True if np.all(usable.sum(axis=0) >= _ENOUGH) else None


def _outcomes(trial: Trial, place: int, solution: Solution) -> list[dict[int, object]]:
    node = trial.expression.node(place)
    operands = trial.expression.elements[place].children
    if node.op in COMPARISONS:
        return [{place: 0.0}, {place: 1.0}]
    if node.op == "sign":
        return [{place: -1.0}, {place: 1.0}, {place: 0.0}]
    if node.op in ROUNDINGS:
        # At an integer n (for rounding: at n + 1/2) the result changes from n - 1 to n, or from n to n + 1.
        integer = solution[operands[0]][0] - (0.5 if node.op == "round" else 0.0)
        steps = {"floor": (-1, 0), "ceil": (0, 1), "round": (0, 1), "truncate": (-1, 0, 1)}[node.op]
        return [{place: integer + step} for step in steps]
    if node.op == "rem":
        period = trial.at(operands[1])[0]
        return [{place: 0.0 * period}, {place: period}, {place: -period}]
    if node.op == "atan2":
        return [{place: math.pi}, {place: -math.pi}]
    # NaN outside the domain, and anything near its edge: the root must not depend on this value.
    return [{}, {place: math.nan}, {place: math.inf}, {place: -math.inf}, {place: trial.anything(place)}]


def _boundaries(trial: Trial, place: int, side: int) -> list[Solution] | None:
    """All solutions for the location of the change at ``place``, each as values of some elements."""
    expression = trial.expression
    node, children = expression.node(place), expression.elements[place].children
    zero = (np.float64(0.0), np.float64(0.0))
    if not children:  # complex numbers, which are not followed
        return None
    if node.op in COMPARISONS:
        if side == 2:
            # Both sides are set to the same value, and their operands are free.
            common = trial.at(children[1])
            return [{children[0]: common, children[1]: common}]
        first, second = (children[0], children[1]) if side == 0 else (children[1], children[0])
        if not expression.elements[first].leaves:
            return _boundaries(trial, place, 1) if side == 0 else None
        for total, part in ((first, second), (second, first)):
            terms = expression.elements[total].children
            if expression.node(total).op in {"add", "sub"} and part == terms[0]:
                # x > x + y changes where y is zero.
                return _solutions(trial, terms[1], zero, {})
            if expression.node(total).op == "add" and part == terms[1]:
                return _solutions(trial, terms[0], zero, {})
        return _solutions(trial, first, trial.at(second), {})
    if side:
        return None
    if node.op in {"div", "rem", "sign", "atan2", "pow", "integer_pow"} | set(ROUNDINGS):
        which = children[1] if node.op == "div" else children[0]
        target = zero
        if node.op in ROUNDINGS or node.op == "rem":
            turns = trial.anything(place)
            period = trial.at(children[1]) if node.op == "rem" else (np.float64(1.0), np.float64(0.0))
            target = (turns * period[0], np.abs(turns) * period[1] + trial.eps * np.abs(turns * period[0]))
        return _solutions(trial, which, target, {})
    if node.op in UNARY:
        edges = [e for e in (UNARY[node.op].domain.low, UNARY[node.op].domain.high) if math.isfinite(e)]
        solutions: list[Solution] = []
        for edge in edges:
            part = _solutions(trial, children[0], (np.float64(edge), np.float64(0.0)), {})
            solutions += part
        return solutions
    return None


def _solutions(trial: Trial, place: int, target: Estimate, assigned: Solution) -> list[Solution]:
    """All values of the operands of an element that give it a target value, as far as it can be inverted."""
    expression = trial.expression
    here = {**assigned, place: target}
    node, children = expression.node(place), expression.elements[place].children
    moving = [child for child in children if expression.elements[child].leaves]
    if not moving:
        return [here]
    if node.op == "convert":
        return _solutions(trial, children[0], target, here)
    t, e = target
    if node.op in _INVERSES:
        roots = _INVERSES[node.op](t, e)
    elif node.op == "integer_pow":
        roots = _root(t, e, dict(node.params)["y"])
    elif node.op in {"add", "add_any", "sub", "mul", "div"}:
        return _arithmetic(trial, place, target, here)
    elif node.op in {"max", "min"}:
        return [s for child in moving for s in _solutions(trial, child, target, here)]
    else:
        return [here]
    if roots is None:
        return [here]
    return [s for root in roots for s in _solutions(trial, children[0], root, here)]


def _arithmetic(trial: Trial, place: int, target: Estimate, here: Solution) -> list[Solution]:
    expression = trial.expression
    op = expression.node(place).op
    one, other = expression.elements[place].children
    t, e = target
    if op == "mul" and np.ndim(t) == 0 and abs(t) <= 4 * e + 1e-300:
        zero = (np.float64(0.0), np.float64(0.0))
        moving = [child for child in (one, other) if expression.elements[child].leaves]
        return [s for child in moving for s in _solutions(trial, child, zero, here)]
    if expression.elements[one].leaves & expression.elements[other].leaves:
        return [here]
    prefers_one = bool(expression.elements[one].leaves) and (
        expression.known(one).depends >= expression.known(other).depends or not expression.elements[other].leaves
    )
    unknown, given = (one, other) if prefers_one else (other, one)
    g, g_error = trial.at(given)
    rounding = trial.eps
    if op in {"add", "add_any"}:
        root = (t - g, e + g_error + rounding * np.abs(t - g))
    elif op == "sub":
        sign = 1.0 if unknown == one else -1.0
        root = (t + g, e + g_error) if sign > 0 else (g - t, e + g_error)
        root = (root[0], root[1] + rounding * np.abs(root[0]))
    elif op == "mul":
        root = (t / g, (e + np.abs(t / g) * g_error) / np.abs(g) + rounding * np.abs(t / g))
    elif unknown == one:
        root = (t * g, e * np.abs(g) + np.abs(t) * g_error + rounding * np.abs(t * g))
    else:
        if np.ndim(t) == 0 and t == 0:
            return [here]
        root = (g / t, (g_error + np.abs(g / t) * e) / np.abs(t) + rounding * np.abs(g / t))
    return _solutions(trial, unknown, root, here)


def _by(function, derivative):  # noqa: ANN001, ANN202
    def roots(t, e):  # noqa: ANN001, ANN202
        value = function(t)
        if not np.all(np.isfinite(value)):
            return None
        return [(value, np.abs(derivative(t, value)) * e + ROUNDING * np.abs(value))]

    return roots


def _root(t: np.ndarray, e: np.ndarray, exponent: int) -> list[Estimate] | None:
    if exponent <= 0:
        return None
    size = np.abs(t) ** (1 / exponent)
    error = np.where(size > 0, e / (exponent * np.maximum(size, 1e-150) ** (exponent - 1)), e ** (1 / exponent))
    error = error + ROUNDING * size
    if power_is_even(exponent):
        return [(size, error), (-size, error)]
    return [(np.sign(t) * size, error)]


_INVERSES = {
    "neg": lambda t, e: [(-t, e)],
    "abs": lambda t, e: [(t, e), (-t, e)],
    "square": lambda t, e: _root(t, e, 2),
    "sqrt": lambda t, e: [(t * t, 2 * np.abs(t) * e + ROUNDING * t * t)],
    "exp": _by(np.log, lambda t, v: 1 / t),
    "log": _by(np.exp, lambda t, v: v),
    "expm1": _by(np.log1p, lambda t, v: 1 / (1 + t)),
    "log1p": _by(np.expm1, lambda t, v: v + 1),
    "tanh": _by(np.arctanh, lambda t, v: 1 / (1 - t * t)),
    "logistic": _by(lambda t: np.log(t) - np.log1p(-t), lambda t, v: 1 / (t * (1 - t))),
    "exp2": _by(np.log2, lambda t, v: 1 / t),
    "atan": _by(np.tan, lambda t, v: 1 + v * v),
    "asinh": _by(np.sinh, lambda t, v: np.cosh(v)),
    "sinh": _by(np.arcsinh, lambda t, v: 1 / np.sqrt(1 + t * t)),
}
