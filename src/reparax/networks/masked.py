"""Networks for flows: one whose outputs see only earlier inputs, and one that sees more than a map's own input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from reparax.networks._base import Affine, Network


class MaskedPerceptron(eqx.Module):
    """One hidden layer; output i, in each of several blocks, sees the context and the inputs before i.

    Germain et al. (2015), "MADE", equations 8 and 9. The last layer is zero at first.

    Attributes:
        hidden: From the inputs, and the context after them, to the hidden units.
        outer: To the outputs.
        size: The number of inputs.
        num_blocks: The number of outputs for each input.
        input_blocks: How many numbers make up an input, such as those of a one-hot vector; in blocks as the outputs.
    """

    hidden: Affine
    outer: Affine
    size: int = eqx.field(static=True)
    num_blocks: int = eqx.field(static=True)
    input_blocks: int = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        width: int,
        *,
        num_blocks: int = 2,
        input_blocks: int = 1,
        context_size: int = 0,
        key: jax.Array,
    ) -> None:
        one, two = jax.random.split(key)
        self.hidden = Affine(input_blocks * size + context_size, width, key=one)
        outer = Affine(width, num_blocks * size, key=two)
        self.outer = eqx.tree_at(lambda layer: layer.weight, outer, jnp.zeros_like(outer.weight))
        self.size, self.num_blocks, self.input_blocks = size, num_blocks, input_blocks

    def __call__(self, x: Float[Array, " i"]) -> Float[Array, " o"]:
        # A hidden unit of degree k sees the inputs up to k; the outputs after k see it.
        degrees = np.arange(self.outer.weight.shape[0]) % self.size
        inputs = np.tile(np.arange(1, self.size + 1)[:, None] <= degrees[None], (self.input_blocks, 1))
        seen = np.concatenate([inputs, np.ones((len(self.hidden.weight) - len(inputs), len(degrees)), bool)])
        shown = np.tile(degrees[:, None] < np.arange(1, self.size + 1)[None], (1, self.num_blocks))
        hidden = jax.nn.gelu(x @ jnp.where(seen, self.hidden.weight, 0.0) + self.hidden.bias)
        return hidden @ jnp.where(shown, self.outer.weight, 0.0) + self.outer.bias


class Beside(eqx.Module):
    """A network of an input and of numbers that are fixed beside it.

    Attributes:
        network: The network of both.
        context: The numbers.
    """

    network: Network
    context: Float[Array, " c"]

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, "..."]:
        return self.network(jnp.concatenate([x, self.context.astype(x.dtype)]))


class Scaled(eqx.Module):
    """A network whose outputs are multiplied by a learned number.

    Attributes:
        network: The network.
        gain: The number.
    """

    network: Network
    gain: Float[Array, ""]

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, "..."]:
        return self.gain * self.network(x)
