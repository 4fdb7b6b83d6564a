"""An objective of examples that come with a context."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, Num


class InContext(eqx.Module):
    """An objective of (x, context): that of x under the plain model for the context.

    Attributes:
        objective: The objective of one example.
    """

    objective: Any

    def __call__(
        self,
        model: Any,
        x: tuple[Num[Array, "*event"], Float[Array, " c"]],
        *,
        key: jax.Array,
        step: Int[Array, ""],
    ) -> Any:
        """The terms for one example in its context."""
        values, context = x
        return self.objective(model.given(context), values, key=key, step=step)
