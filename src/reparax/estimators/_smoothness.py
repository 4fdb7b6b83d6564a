"""Refuses second and higher derivatives of an integrand whose lower ones are not shown to be continuous.

A pathwise derivative of E[f] is E[f'], so that the second one is right only if f' is continuous in the sample as well:
of E[max(z, 0)] the derivative of each sample is a step, whose derivative is 0 although that of the mean is not.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from reparax.continuity import Reason, Variable, judge
from reparax.errors import InvalidEstimator
from reparax.jaxprs import without_constants

Check = Callable[[int], None]
"""Called when derivatives of an order are about to be differentiated; it raises if they may jump."""

_ORDINALS = ("first", "second", "third")


def checked(results: Any, check: Check, order: int = 0) -> Any:
    """The results of f; when they are differentiated the second time, ``check(1)`` is called, then ``check(2)``."""

    @jax.custom_jvp
    def same(results: Any) -> Any:
        return results

    @same.defjvp
    def _differentiated(primals: Any, tangents: Any) -> Any:
        if order:
            check(order)
        return checked(primals[0], check, order + 1), tangents[0]

    return same(results)


class Smoothness:
    """What is known of the derivatives of f.

    It keeps no value that f closes over and that is traced, as it lives as long as programs that contain f.

    Args:
        closed: f, as a function of its draws and a key.
        variables: What is known of each draw; ``None`` for those in which f need not be continuous.
        differentiated: Which draws are differentiated.
    """

    def __init__(
        self, closed: ClosedJaxpr, variables: Sequence[Variable | None], differentiated: Sequence[bool]
    ) -> None:
        self._jaxpr, self._variables = without_constants(closed), tuple(variables)
        self._differentiated = tuple(differentiated)
        self._consts = [_outline(value) if isinstance(value, Tracer) else value for value in closed.consts]
        self._kinks: dict[int, Reason | None] = {}

    def check(self, order: int) -> None:
        """Refuses to differentiate the derivatives of an order once more.

        Raises:
            InvalidEstimator: They are not shown to be continuous.
        """
        if order not in self._kinks:
            self._kinks[order] = self._kink(order)
        reason = self._kinks[order]
        if reason is not None:
            raise _not_smooth(reason, order)

    def _kink(self, order: int) -> Reason | None:
        """Why the derivatives of an order are not shown to be continuous; ``None`` if they are.

        They may jump at fixed places in draws that are constants for differentiation, but not at places that move with
        a value that f closes over.
        """
        found: list[Reason | None] = []

        def judged(traced: list[Any]) -> None:
            rest, count = iter(traced), len(self._variables)
            consts = [next(rest) if _is_outline(value) else value for value in self._consts]
            derivative = _derivative(ClosedJaxpr(self._jaxpr, consts), count, order)
            verdict = judge(derivative, [*self._variables, *[None] * (len(derivative.in_avals) - count)])
            moving = [reason for reason in verdict.variables if verdict.moving]
            jumping = [r for r, moves in zip(verdict.variables, self._differentiated, strict=False) if moves]
            found.append(next((reason for reason in [*jumping, *moving] if reason is not None), None))

        # Others stand for the traced values.
        jax.eval_shape(judged, [value for value in self._consts if _is_outline(value)])
        return found[0]


def _derivative(closed: ClosedJaxpr, count: int, order: int) -> ClosedJaxpr:
    """The derivatives of f in its draws and in the traced values that it closes over, a direction for each order."""
    consts = closed.consts
    draws = [_outline(aval) for aval in closed.in_avals]
    of_draws = [place for place, draw in enumerate(draws[:count]) if _is_real(draw)]
    of_consts = [place for place, value in enumerate(consts) if isinstance(value, Tracer) and _is_real(value)]
    outlines = [*(draws[place] for place in of_draws), *(_outline(consts[place]) for place in of_consts)]

    def derivative(inputs: list[Any], directions: list[list[Any]]) -> list[Any]:
        def f(real: list[Any]) -> list[Any]:
            arguments, values = list(inputs), list(consts)
            for place, value in zip(of_draws, real, strict=False):
                arguments[place] = value
            for place, value in zip(of_consts, real[len(of_draws) :], strict=True):
                values[place] = value
            results = jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, values))(*arguments)
            return [result for result in results if _is_real(result)]

        slope = f
        for direction in directions:
            slope = _slope(slope, direction)
        return slope([*(inputs[place] for place in of_draws), *(consts[place] for place in of_consts)])

    return jax.make_jaxpr(derivative)(draws, [outlines] * order)


def _slope(f: Callable[[list[Any]], list[Any]], direction: list[Any]) -> Callable[[list[Any]], list[Any]]:
    return lambda x: jax.jvp(f, (x,), (direction,))[1]


def _outline(value: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(value.shape, value.dtype)


def _is_outline(value: Any) -> bool:
    return isinstance(value, jax.ShapeDtypeStruct)


def _is_real(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jnp.inexact)


def _not_smooth(reason: Reason, order: int) -> InvalidEstimator:
    """The error for an integrand with a kink, of which a second or higher derivative is asked for."""
    lower, higher = (_ORDINALS[place] if place < len(_ORDINALS) else f"{place + 1}th" for place in (order - 1, order))
    return InvalidEstimator(
        expected=f"an f whose {lower} derivative is continuous in z, for a {higher} derivative",
        got=f"a kink: {reason.text} in it, and samples miss the mass there",
        cure="use leave-one-out or score-function, with all parameters in q; or, if f is smooth after all, wrap it: "
        "estimators.AssumedContinuous(f)",
    )
