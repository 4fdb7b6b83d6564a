"""Facts of operations on entire arrays, of operations with several results, and of loops."""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp

from reparax.continuity import interval as iv
from reparax.continuity.alignment import axes_reduced_beside
from reparax.continuity.analysis import Analysis, elementwise, rule, through, unknown
from reparax.continuity.facts import NONE, Facts, Jump, depends, jumps
from reparax.continuity.graph import Graph, Node


def _params(node: Node) -> dict[str, object]:
    return dict(node.params)


@rule("reduce_sum", "cumsum", "reduce_window_sum", "psum", "psum2", "psum_invariant")
def _sum(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    result = through(analysis, node)
    part = analysis.facts[node.args[0]]
    interval = part.interval
    low = interval.low if interval.low >= 0 else -math.inf
    image = iv.Interval(low, math.inf, interval.low_open or low < 0, True)
    if interval.high <= 0:
        image = iv.Interval(-math.inf, interval.high, True, interval.high_open)
    shape = analysis.graph.nodes[node.args[0]].shape
    if node.op != "reduce_sum" or not math.prod(shape):
        image = iv.hull(image, iv.point(0.0))
    if node.op == "reduce_sum" and _is_normalizer(analysis.graph, node):
        image = iv.Interval(1.0, math.inf, False, True)
    if node.op == "reduce_sum" and part.simplex and _params(node)["axes"] == (len(shape) - 1,):
        return result._replace(interval=iv.point(1.0))
    return result._replace(interval=image, atomless=part.atomless and part.distinct)


def _is_normalizer(graph: Graph, node: Node) -> bool:
    """Whether this is sum exp(x - max x), which is at least one."""
    exponential = graph.nodes[node.args[0]]
    if exponential.op != "exp":
        return False
    difference = graph.nodes[exponential.args[0]]
    if difference.op != "sub":
        return False
    value, number = difference.args
    return axes_reduced_beside(graph, "reduce_max", value, number) == _params(node)["axes"]


@rule("reduce_max", "reduce_min", "cummax", "cummin", "reduce_window_max", "reduce_window_min", "pmax", "pmin")
def _extreme(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    result = through(analysis, node)
    part = analysis.facts[node.args[0]]
    interval = part.interval if "window" not in node.op else iv.REAL
    return result._replace(interval=interval, atomless=part.atomless)


@rule("reduce_prod", "cumprod")
def _product(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    interval = analysis.facts[node.args[0]].interval
    image = iv.POSITIVE if interval.positive else iv.NONNEGATIVE if interval.low >= 0 else iv.REAL
    return through(analysis, node, interval=image)


@rule("dot_general", "conv_general_dilated")
def _contraction(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    one, other = (part.interval for part in parts)
    if one.low >= 0 and other.low >= 0:
        filled = node.op == "dot_general" and math.prod(analysis.graph.nodes[node.args[0]].shape) > 0
        positive = one.positive and other.positive and filled
        return through(analysis, node, interval=iv.POSITIVE if positive else iv.NONNEGATIVE)
    return through(analysis, node)


@rule(
    "cumlogsumexp", "fft", "polynomial", "real", "imag", "conj", "complex", "ppermute", "all_gather", "all_to_all",
    "reduce_scatter",
    "symmetric_product", "copy_to_host", "square_complex", "symmetrize",
)  # fmt: skip
def _linear(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    return through(analysis, node)


@rule("stack", "concatenate", "pad", "dynamic_update_slice", "select_and_scatter_add")
def _joined(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    joins = node.op in {"concatenate", "stack"}
    data = parts if joins else parts[:2]
    if node.op == "dynamic_update_slice" and any(analysis.varies(part) for part in parts[2:]):
        return through(
            analysis, node, analysis.jump(-1, parts[2:], node.op, "an index that changes in steps makes it jump in z")
        )
    if node.op == "select_and_scatter_add":
        return unknown(analysis, number, node, parts)
    result = through(analysis, node, interval=iv.hull(*(part.interval for part in data)))
    return result._replace(atomless=joins and all(part.atomless for part in data))


@rule(
    "scatter", "scatter_add", "scatter-add", "scatter_mul", "scatter-mul", "scatter_min", "scatter_max",
    "scatter-min", "scatter-max",
)  # fmt: skip
def _scatter(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    operand, indices, updates = parts
    if analysis.varies(indices):
        return through(
            analysis, node, analysis.jump(-1, [indices], node.op, "an index that changes in steps makes it jump in z")
        )
    plain = node.op not in {"scatter_add", "scatter-add", "scatter_mul", "scatter-mul"}
    interval = iv.hull(operand.interval, updates.interval) if plain else iv.REAL
    if not plain and operand.interval.low >= 0 and updates.interval.low >= 0:
        interval = iv.NONNEGATIVE
    return through(analysis, node, interval=interval)


@rule("reduce_and", "reduce_or", "reduce_xor")
def _truth(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    (part,) = parts
    value = part.interval.value
    if value is not None and not part.pending and not part.jumps and node.op != "reduce_xor":
        return Facts(part.depends, iv.point(value))
    return through(analysis, node, interval=iv.BOOLEAN)


@rule("argmax", "argmin")
def _place(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    size = max(analysis.graph.nodes[node.args[0]].shape, default=1)
    extra = analysis.jump(-1, parts, node.op, f"{node.op} is a step function of z")
    return through(analysis, node, extra, iv.Interval(0.0, float(max(size - 1, 0)), False, False))


@rule("cholesky", "triangular_solve")
def _triangular(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    if node.op == "cholesky":
        # Continuous where it is defined, which is not tracked.
        return through(analysis, node)._replace(partial=analysis.varies(parts[0]))
    matrix = analysis.graph.nodes[node.args[0]]
    while matrix.op in {"transpose", "stop_gradient", "broadcast_in_dim", "reshape"} or _is_triangle(analysis, matrix):
        matrix = analysis.graph.nodes[matrix.args[-1]]
    # The Cholesky factor has a positive diagonal; any other triangular matrix may be singular.
    if matrix.op == "cholesky" or not analysis.varies(parts[0]):
        return through(analysis, node)
    return through(
        analysis, node, analysis.jump(-1, parts[:1], node.op, "a system that can be singular as z varies", pole=True)
    )


def _is_triangle(analysis: Analysis, node: Node) -> bool:
    """Whether this is `numpy.tril` of a matrix: a selection between zeros and its elements by their indices."""
    if node.op != "select_n" or len(node.args) != 3:
        return False
    mask, zeros, _ = (analysis.facts[arg] for arg in node.args)
    return not analysis.varies(mask) and zeros.interval.value == 0


@rule("igamma", "igammac", "random_gamma_grad", "igamma_grad_a", "regularized_incomplete_beta", "zeta", "polygamma")
def _special(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    limits = [iv.POSITIVE, iv.NONNEGATIVE] if node.op.startswith(("igamma", "random")) else [iv.POSITIVE] * 2
    if node.op == "zeta":
        limits = [iv.Interval(1.0, math.inf, True, True), iv.POSITIVE]
    if node.op == "regularized_incomplete_beta":
        limits = [iv.POSITIVE, iv.POSITIVE, iv.Interval(0.0, 1.0, False, False)]
    inside = all(p.interval.inside(limit) or not analysis.varies(p) for p, limit in zip(parts, limits, strict=True))
    image = (
        iv.Interval(0.0, 1.0, False, False)
        if node.op in {"igamma", "igammac", "regularized_incomplete_beta"}
        else iv.REAL
    )
    result = elementwise(parts, image)
    if inside:
        return result
    return result._replace(
        jumps=result.jumps | analysis.jump(-1, parts, node.op, f"{node.op} leaves its domain as z varies", pole=True)
    )


Result = Callable[[Analysis, int, int], Facts]


# The results of operations with several results.
def _sorted(analysis: Analysis, number: int, place: int) -> Facts:
    node = analysis.graph.nodes[number]
    keys = dict(node.params)["num_keys"]
    parts = [analysis.settled(arg) for arg in node.args]
    steps = analysis.jump(-1, parts[:keys], "sort", "the order of values is a step function of z")
    values = analysis.facts[node.args[place]]
    result = Facts(depends(parts), values.interval, values.atomless, jumps=jumps(parts))
    return result if place == 0 and keys == 1 else result.also_jumping(steps)


def _top(analysis: Analysis, number: int, place: int) -> Facts:
    node = analysis.graph.nodes[number]
    part = analysis.settled(node.args[0])
    if place == 0:
        return part._replace(distinct=False)
    size = analysis.graph.nodes[node.args[0]].shape[-1]
    steps = analysis.jump(-1, [part], "top_k", "the order of values is a step function of z")
    return Facts(part.depends, iv.Interval(0.0, float(size - 1), False, False), jumps=part.jumps | steps)


def _values_only(first: int) -> Result:
    def facts(analysis: Analysis, number: int, place: int) -> Facts:
        node = analysis.graph.nodes[number]
        result = through(analysis, node)
        if place == first:
            return result
        parts = [analysis.settled(arg) for arg in node.args]
        reason = f"vectors or factors of {node.op} may jump"
        return result.also_jumping(analysis.jump(-1, parts, node.op, reason))

    return facts


def _split(analysis: Analysis, number: int, place: int) -> Facts:
    return analysis.settled(analysis.graph.nodes[number].args[0])


def _from_library(analysis: Analysis, number: int, place: int) -> Facts:
    node = analysis.graph.nodes[number]
    name, _, domain = str(node.params).partition(":")
    result = through(analysis, node)
    limits = {
        "open unit": iv.Interval(-1.0, 1.0, True, True), "unit": iv.UNIT, "positive": iv.POSITIVE, "": iv.REAL,
    }  # fmt: skip
    outside = [
        part for part in (analysis.facts[arg] for arg in node.args)
        if analysis.varies(part) and not part.interval.inside(limits[domain])
    ]  # fmt: skip
    extra = analysis.jump(-1, outside, name, f"{name} leaves its domain as z varies", pole=True)
    image = {"ndtr": iv.UNIT, "log_ndtr": iv.Interval(-math.inf, 0.0, True, True)}.get(name, iv.REAL)
    return result._replace(interval=image, jumps=result.jumps | extra)


def _marked(analysis: Analysis, number: int, place: int) -> Facts:
    """A mark of a program of draws: its results are its first operands, and depend continuously on all operands."""
    node = analysis.graph.nodes[number]
    if not jnp.issubdtype(analysis.graph.nodes[node.args[place]].dtype, jnp.inexact):
        return Facts()
    parts = [analysis.settled(arg) for arg in node.args]
    return Facts(depends(parts), jumps=jumps(parts))


SEVERAL: dict[str, Result] = {
    "sort": _sorted, "top_k": _top, "eigh": _values_only(1), "svd": _values_only(0), "split": _split,
    "library": _from_library, "reparax_mark": _marked,
}  # fmt: skip


@rule("out")
def _out(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    source = analysis.graph.nodes[node.args[0]]
    known = SEVERAL.get(source.op)
    return known(analysis, node.args[0], node.params) if known is not None else parts[0]


@rule("eq_to", "nextafter", "copysign")
def _steps(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    return unknown(analysis, number, node, parts)


@rule("sort", "top_k", "eigh", "svd", "split", "reparax_mark")
def _whole(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    return Facts(depends([analysis.settled(arg) for arg in node.args]))


@rule("custom_linear_solve")
def _solve(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    lengths = dict(node.params)["const_lengths"]
    system = parts[: sum(lengths)]
    if not any(analysis.varies(part) for part in system):
        return through(analysis, node)
    return through(
        analysis, node, analysis.jump(-1, system, "solve", "a system that can be singular as z varies", pole=True)
    )


@rule("lu", "qr", "householder_product", "geqrf", "schur", "eig", "tridiagonal_solve", "lu_pivots_to_permutation")
def _factors(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    return through(analysis, node, analysis.jump(-1, parts, node.op, f"factors of {node.op} may jump"))


_ROUNDS = 12


def body_facts(analysis: Analysis, number: int, place: int, inputs: Sequence[Facts]) -> list[Facts]:
    """The facts of the results of a body of a loop."""
    graph = analysis.graph.nodes[number].graphs[place]
    inner = Analysis(
        graph, [_plain(part) for part in inputs], {}, analysis.variables, analysis.sources, analysis.budget
    )
    analysis.bodies.setdefault(number, {})[place] = inner
    return [_exported(inner.settled(output)) for output in graph.outputs]


def _plain(facts: Facts) -> Facts:
    """What remains true inside a body, where elements are not related to those outside."""
    return facts._replace(pending=NONE)


def _exported(facts: Facts) -> Facts:
    result = frozenset(Jump(-1, j.variables, j.primitive, j.reason, j.pole, j.binding) for j in facts.jumps)
    return facts._replace(jumps=result, distinct=False)


def _merged(one: Facts, other: Facts) -> Facts:
    return Facts(
        depends=one.depends | other.depends,
        interval=iv.hull(one.interval, other.interval),
        atomless=one.atomless and other.atomless,
        jumps=one.jumps | other.jumps,
        partial=one.partial or other.partial,
    )


def _widened(old: Facts, new: Facts) -> Facts:
    """The join of the carry before and after a round; an interval that grows is extended to 0 or infinity."""
    result = _merged(old, new)
    interval = result.interval
    if (interval.low, interval.low_open) != (old.interval.low, old.interval.low_open):
        interval = interval._replace(
            low=0.0 if interval.low >= 0 else -iv.INF, low_open=interval.positive or interval.low < 0
        )
    if (interval.high, interval.high_open) != (old.interval.high, old.interval.high_open):
        interval = interval._replace(
            high=0.0 if interval.high <= 0 else iv.INF, high_open=interval.negative or interval.high > 0
        )
    return result._replace(interval=interval, atomless=False)


def _carried(
    analysis: Analysis, number: int, place: int, start: list[Facts], before: list[Facts], after: list[Facts]
) -> tuple[list[Facts], list[Facts]]:
    """The carry once it no longer changes, and the other results of the body."""
    state = [_plain(part)._replace(distinct=False) for part in start]
    for _ in range(_ROUNDS):
        results = body_facts(analysis, number, place, [*before, *state, *after])
        following = [_widened(old, new) for old, new in zip(state, results[: len(state)], strict=True)]
        if following == state:
            return state, results[len(state) :]
        state = following
    state = [part._replace(interval=iv.REAL) for part in state]
    results = body_facts(analysis, number, place, [*before, *state, *after])
    return [_merged(a, b)._replace(interval=iv.REAL) for a, b in zip(state, results, strict=False)], results[
        len(state) :
    ]


def _scan(analysis: Analysis, number: int, node: Node) -> list[Facts]:
    num_consts, num_carry = node.params
    parts = [analysis.settled(arg) for arg in node.args]
    constants, start = parts[:num_consts], parts[num_consts : num_consts + num_carry]
    elements = [part._replace(distinct=False) for part in parts[num_consts + num_carry :]]
    state, outputs = _carried(analysis, number, 0, start, constants, elements)
    return [*state, *outputs]


def _while(analysis: Analysis, number: int, node: Node) -> list[Facts]:
    conditions, constants = node.params
    parts = [analysis.settled(arg) for arg in node.args]
    start = parts[conditions + constants :]
    state, _ = _carried(analysis, number, 1, start, parts[conditions : conditions + constants], [])
    (again,) = body_facts(analysis, number, 0, [*parts[:conditions], *state])
    reason = "z passes through a loop whose number of rounds may depend on it"
    extra = analysis.jump(-1, [again], "while", reason) | again.jumps
    return [part._replace(depends=part.depends | again.depends, jumps=part.jumps | extra) for part in state]


def _mapped(analysis: Analysis, number: int, node: Node) -> list[Facts]:
    return body_facts(analysis, number, 0, [analysis.settled(arg) for arg in node.args])


_KINDS = {"scan": _scan, "while": _while, "shard_map": _mapped}


@rule(*_KINDS)
def _loop(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    # The results are computed once, and read one by one.
    analysis.loops[number] = _KINDS[node.op](analysis, number, node)
    return Facts()


def _result(analysis: Analysis, number: int, place: int) -> Facts:
    return analysis.loops[number][place]


SEVERAL.update(dict.fromkeys(_KINDS, _result))
