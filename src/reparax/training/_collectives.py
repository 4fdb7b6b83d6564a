"""Refuses collectives over the batch whose gradient JAX 0.10 computes wrongly.

A batched ``cond`` whose predicate differs between examples stops the gradients of the examples that take the other
branch, even if a collective in the branch has used their values. The batched rule of a ``custom_vjp`` sums the
cotangents of a value that all examples share, and the transposed collective in it sums them again.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from reparax.errors import TrainingError
from reparax.jaxprs import scan_sizes

# Collectives whose result is the same for all examples.
_SHARED = frozenset({"psum", "pmax", "pmin", "all_gather"})


def require_right_gradients(jaxpr: Jaxpr, differs: Sequence[bool], axis: str) -> None:
    """Refuses a collective whose gradient would be wrong.

    Args:
        jaxpr: The terms of one example.
        differs: For each of its arguments, whether examples differ in it.
        axis: The name of the axis.

    Raises:
        TrainingError: There is one in a branch that only some examples take, or in a function with a custom reverse
            rule.
    """
    _outputs(jaxpr, differs, axis)


def _outputs(jaxpr: Jaxpr, differs: Sequence[bool], axis: str) -> list[bool]:
    """Whether examples differ in each output."""
    known: dict[Any, bool] = dict(zip(jaxpr.invars, differs, strict=True))

    def of(atoms: Sequence[Any]) -> list[bool]:
        return [not isinstance(atom, Literal) and known.get(atom, False) for atom in atoms]

    for equation in jaxpr.eqns:
        known.update(zip(equation.outvars, _equation(equation, of(equation.invars), axis), strict=True))
    return of(jaxpr.outvars)


def _equation(equation: JaxprEqn, given: list[bool], axis: str) -> list[bool]:
    name, inner = equation.primitive.name, list(_inner(equation))
    if axis in _axes(equation):
        return [name not in _SHARED] * len(equation.outvars)
    collects = any(_collects(jaxpr, axis) for jaxpr in inner)
    if collects and name.startswith("custom_vjp"):
        raise _refused("a function with a custom reverse rule (jax.custom_vjp)", "move it out of that function")
    if collects and name == "cond" and given[0]:
        raise _refused(
            "a branch that only some examples of the batch take (jax.lax.cond)",
            "move it out of the branch, or select with jnp.where",
        )
    everything = [any(given)] * len(equation.outvars)
    if name == "cond":
        branches = [_outputs(jaxpr, given[1:], axis) for jaxpr in inner]
        return [given[0] or any(outputs) for outputs in zip(*branches, strict=True)]
    if name == "scan":
        constants, carried = scan_sizes(equation.params)
        given = [*given[:constants], *[any(given)] * carried, *given[constants + carried :]]
    if name != "while" and len(inner) == 1 and len(inner[0].invars) == len(given):
        return _outputs(inner[0], given, axis)
    for jaxpr in inner:
        _outputs(jaxpr, [True] * len(jaxpr.invars), axis)
    return everything


def _inner(equation: JaxprEqn) -> Iterator[Jaxpr]:
    leaves = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: isinstance(leaf, ClosedJaxpr | Jaxpr))
    for leaf in leaves:
        if isinstance(leaf, ClosedJaxpr):
            yield leaf.jaxpr
        elif isinstance(leaf, Jaxpr):
            yield leaf


def _axes(equation: JaxprEqn) -> tuple[Any, ...]:
    """The named axes of a collective; those of any other operation are numbers."""
    axes = equation.params.get("axis_name", equation.params.get("axes", ()))
    return axes if isinstance(axes, tuple) else (axes,)


def _collects(jaxpr: Jaxpr, axis: str) -> bool:
    return any(
        axis in _axes(equation) or any(_collects(inner, axis) for inner in _inner(equation)) for equation in jaxpr.eqns
    )


def _refused(where: str, cure: str) -> TrainingError:
    return TrainingError(
        expected="collectives over the batch only where their gradient is right",
        got=f"one inside {where}",
        cure=cure,
    )
