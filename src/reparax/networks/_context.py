"""Networks with a context as second input: labels, covariates, the site where a row comes from."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from reparax.errors import RecipeError
from reparax.networks._base import Network
from reparax.pytrees import Frozen

Tree = TypeVar("Tree")


class Conditioned(eqx.Module):
    """network([x, (context - mean) / std]), for the context that `given` sets.

    An image takes each number of the context as one more channel, constant over the image.

    Attributes:
        network: The network of both inputs.
        mean: The mean of the contexts that the model was fitted to.
        std: Their standard deviation.
        context: The context; None if it is not yet given.
    """

    network: Network
    mean: Frozen
    std: Frozen
    context: Float[Array, " c"] | None = None

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        if self.context is None:
            raise RecipeError(
                expected="a context for a conditional model",
                got="none",
                cure="use model.given(context), or pass context=...",
            )
        seen = (jnp.asarray(self.context, self.mean.value.dtype) - self.mean.value) / self.std.value
        if x.ndim == 3:
            channels = jnp.broadcast_to(seen[None, None], (*x.shape[:2], seen.size))
            return self.network(jnp.concatenate([x, channels.astype(x.dtype)], axis=-1))
        return self.network(jnp.concatenate([jnp.ravel(x), seen.astype(x.dtype)]))


def conditioned(network: Network, contexts: Float[np.ndarray, "n c"]) -> Conditioned:
    """A network with a context as second input, standardized by the contexts of a fit."""
    std = np.std(contexts, axis=0)
    mean, std = (jnp.asarray(moment, jnp.float32) for moment in (np.mean(contexts, axis=0), np.where(std > 0, std, 1)))
    return Conditioned(network, Frozen(mean), Frozen(std))


def beside_context(make: Callable[[int], Network], in_size: int, like: PyTree) -> Network:
    """A network of numbers, and of the context as well if another network has one.

    Args:
        make: Makes a network from the size of its input.
        in_size: How many numbers it takes besides the context.
        like: A network of the model that it belongs to.
    """
    conditioned = _conditioned_parts(like)
    if not conditioned:
        return make(in_size)
    mean, std = conditioned[0].mean, conditioned[0].std
    return Conditioned(make(in_size + mean.value.size), mean, std)


def given(tree: Tree, context: Float[Array, " c"]) -> Tree:
    """A model, or any other pytree with conditioned networks, for one context.

    Raises:
        RecipeError: A context of another size.
    """

    def put(leaf: object) -> object:
        if not isinstance(leaf, Conditioned):
            return leaf
        if jnp.shape(context) != leaf.mean.value.shape:
            raise RecipeError(
                expected=f"a context of {leaf.mean.value.size} numbers",
                got=f"an array of shape {jnp.shape(context)}",
                cure="give one number for each column of the context of the fit",
            )
        return replace(leaf, context=context)

    return jax.tree.map(put, tree, is_leaf=_is_conditioned)


def context_size(tree: PyTree) -> int:
    """How many numbers the context of a model has; 0 for a model without one."""
    parts = _conditioned_parts(tree)
    return parts[0].mean.value.size if parts else 0


def _conditioned_parts(tree: PyTree) -> list[Conditioned]:
    return [leaf for leaf in jax.tree.leaves(tree, is_leaf=_is_conditioned) if isinstance(leaf, Conditioned)]


def _is_conditioned(leaf: object) -> bool:
    return isinstance(leaf, Conditioned)
