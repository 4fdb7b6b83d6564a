"""Combinations of importance-weighted bounds, whose encoders learn where that of the IWAE has mostly noise.

Rainforth et al. (2018), "Tighter variational bounds are not necessarily better", section 4.
"""

from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Num

from reparax.model import Model
from reparax.objectives._base import MOST_SAMPLES, AbstractObjective, Terms
from reparax.objectives.bounds import ELBO, IWAE
from reparax.parts import option

Tree = TypeVar("Tree")


class MultipleIWAE(AbstractObjective):
    """The mean of M importance-weighted bounds of K samples each: Rainforth et al. (2018), equation 10 (MIWAE).

    Args:
        num_samples: K, the samples of each bound.
        num_bounds: M.
        estimator: The gradient estimator, by name, or "auto".
    """

    needs_density: ClassVar[bool] = True
    trains_prior: ClassVar[bool] = True
    num_samples: int = option(8, low=1, high=MOST_SAMPLES)
    num_bounds: int = option(8, low=1, high=MOST_SAMPLES)
    estimator: str = option("auto")

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        return _mean_of_bounds(model, x, key, step, IWAE(self.num_samples, self.estimator), self.num_bounds)


class CIWAE(AbstractObjective):
    """weight ELBO + (1 - weight) IWAE: Rainforth et al. (2018), equation 11. A bound for every weight from 0 to 1.

    Args:
        weight: The weight of the evidence lower bound.
        num_samples: K of the importance-weighted bound, and the samples of the evidence lower bound.
        estimator: The gradient estimator of both, by name, or "auto".
    """

    needs_density: ClassVar[bool] = True
    trains_prior: ClassVar[bool] = True
    weight: float = option(0.5, low=0, high=1)
    num_samples: int = option(8, low=1, high=MOST_SAMPLES)
    estimator: str = option("auto")

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        for_elbo, for_iwae = jax.random.split(key)
        elbo = ELBO(num_samples=self.num_samples, estimator=self.estimator)(model, x, key=for_elbo, step=step)
        iwae = IWAE(self.num_samples, self.estimator)(model, x, key=for_iwae, step=step)
        value = self.weight * elbo.bound + (1 - self.weight) * iwae.bound
        return Terms(value, value, elbo.reconstruction, elbo.kl)


class PIWAE(AbstractObjective):
    """The decoder and the prior learn from the IWAE of M K samples, the encoder from the mean of M IWAEs of K samples.

    Rainforth et al. (2018), equations 12 and 13. The reported bound is the IWAE of M K samples. Layers that the
    prior shares with the posterior (`ladder`, `top-down-residual`, `codebook-ladder`) learn as the encoder does.

    Args:
        num_samples: K, the samples of each bound of the encoder.
        num_bounds: M.
        estimator: The gradient estimator, by name, or "auto".
    """

    needs_density: ClassVar[bool] = True
    trains_prior: ClassVar[bool] = True
    num_samples: int = option(8, low=1, high=MOST_SAMPLES)
    num_bounds: int = option(8, low=1, high=MOST_SAMPLES)
    estimator: str = option("auto")

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        for_decoder, for_encoder = jax.random.split(key)
        of_decoder = Model(_fixed(model.posterior), model.prior, model.likelihood)
        of_encoder = Model(model.posterior, _fixed(model.prior), _fixed(model.likelihood))
        whole = IWAE(self.num_samples * self.num_bounds, self.estimator)(of_decoder, x, key=for_decoder, step=step)
        bounds = _mean_of_bounds(
            of_encoder, x, for_encoder, step, IWAE(self.num_samples, self.estimator), self.num_bounds
        )
        # The value of the one, and the derivatives of both.
        value = whole.bound + bounds.bound - jax.lax.stop_gradient(bounds.bound)
        return Terms(value, value, whole.reconstruction, whole.kl)


def _mean_of_bounds(
    model: Model, x: Num[Array, "*event"], key: jax.Array, step: Int[Array, ""], bound: IWAE, count: int
) -> Terms:
    terms: Any = jax.vmap(lambda each: bound(model, x, key=each, step=step))(jax.random.split(key, count))
    return jax.tree.map(lambda term: jnp.mean(term), terms)


def _fixed(tree: Tree) -> Tree:
    """A pytree whose arrays are constants for differentiation."""
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, tree)
