"""Values that raise where they are differentiated, or differentiated twice."""

from collections.abc import Callable
from typing import Any

import jax

from reparax.errors import InvalidEstimator

Same = Callable[[Any], Any]
Refusal = Callable[[], InvalidEstimator]


def not_differentiable(refusal: Refusal) -> Same:
    """The identity, whose derivative raises an error."""

    @jax.custom_jvp
    def same(value: Any) -> Any:
        return value

    @same.defjvp
    def _refuse(primals: Any, tangents: Any) -> Any:
        raise refusal()

    return same


def differentiable_once(refusal: Refusal) -> Same:
    """The identity, whose second derivative raises an error."""
    no_more = not_differentiable(refusal)

    @jax.custom_jvp
    def same(value: Any) -> Any:
        return value

    @same.defjvp
    def _once(primals: Any, tangents: Any) -> Any:
        return no_more(primals[0]), tangents[0]

    return same
