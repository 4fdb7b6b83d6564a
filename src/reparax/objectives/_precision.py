"""Training with products of fewer bits."""

from dataclasses import replace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from reparax.errors import RecipeError
from reparax.model import Model
from reparax.networks import with_bfloat16
from reparax.objectives._base import Accompanied, plain_model


class InPrecision(eqx.Module):
    """An objective whose matrix products and convolutions are computed with fewer bits, where the device can.

    Attributes:
        objective: The objective.
        precision: ``"tensorfloat32"``: the factors are cut to 10 bits of their fraction. ``"bfloat16"``: moreover, the
            hidden layers of encoder and decoder are computed in bfloat16, from weights that stay in float32
            (Micikevicius et al. 2018, section 3.1; bfloat16 needs no loss scaling).
    """

    objective: Any
    precision: Literal["tensorfloat32", "bfloat16"] = eqx.field(static=True)

    def __call__(self, model: Any, x: Any, *, key: jax.Array, step: Int[Array, ""]) -> Any:
        """The terms for one example at a training step."""
        seen = with_low_networks(model) if self.precision == "bfloat16" else model
        with jax.default_matmul_precision("tensorfloat32"):
            return self.objective(seen, x, key=key, step=step)


def with_low_networks(trained: Model | Accompanied) -> Model | Accompanied:
    """What is trained, with the hidden layers of encoder and decoder in bfloat16.

    Raises:
        RecipeError: There are none.
    """
    model = plain_model(trained)
    low = Model(with_bfloat16(model.posterior), model.prior, with_bfloat16(model.likelihood))
    if not any(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(eqx.filter(low, eqx.is_array))):
        raise RecipeError(
            expected="networks with hidden layers, which are `reparax.networks.Feedforward`, for bfloat16",
            got="none in the encoder and the decoder",
            cure="leave precision out, or choose another network",
        )
    return replace(trained, model=low) if isinstance(trained, Accompanied) else low
