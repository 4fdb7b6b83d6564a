"""Pathwise derivatives (the reparameterization trick): independent noise, designed noise, mixtures by component."""

import abc
import functools
import warnings
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._parameters import elements
from reparax.estimators._quantiles import VALID_FOR, designed, no_quantile, standard_noise
from reparax.estimators.draws import is_distribution, normalized, not_reparameterizable
from reparax.estimators.scores import along, boxed, evaluate, evaluate_common, leave_one_out, mean, scored_draws
from reparax.reparameterization import rsample
from reparax.reparameterization.mixture import draw_all

_BITS = 23


class Pathwise(AbstractEstimator):
    """``d/dtheta E[f(z)] = E[f'(g(eps, theta)) dg/dtheta]``, where z = g(eps, theta) is the sample of `rsample`.

    Kingma & Welling (2014), eq. 4; Mohamed et al. (2020), section 5; Figurnov et al. (2018), eq. 5, for implicit paths.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "a reparameterizable distribution and an f that is continuous in z"
    reference: ClassVar[str] = "Kingma & Welling (2014), eq. 4; Mohamed et al. (2020), section 5"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_reparameterizable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        draw_key, f_key = jax.random.split(key)
        flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
        keys = jax.random.split(draw_key, len(flat))
        draws = [rsample(leaf, k, (num_samples,)) for leaf, k in zip(flat, keys, strict=True)]
        z = jax.tree.unflatten(structure, draws)
        return mean(evaluate(f, z, jax.random.split(f_key, num_samples)))


class AbstractDesignedNoise(AbstractEstimator):
    """Pathwise with z = F^{-1}(u) and uniform noise u that is designed instead of independent."""

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    valid_for: ClassVar[str] = VALID_FOR

    @abc.abstractmethod
    def noise(self, key: jax.Array, num_samples: int, dimensions: int, dtype: Any) -> Float[Array, "n d"]:
        """The noise of ``num_samples`` draws: every row is uniform on the unit cube."""

    def refusal(self, q: dist.Distribution) -> str | None:
        return no_quantile(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return designed(f, q, self.noise, key, self.evaluations(q, num_samples))


class Antithetic(AbstractDesignedNoise):
    """Pathwise with pairs z = F^{-1}(u), z~ = F^{-1}(1 - u): exact for the odd part of f if q is symmetric.

    Draws are made in pairs: an odd ``num_samples`` is rounded up. Owen (2013), "Monte Carlo theory", section 8.2.
    """

    minimum_samples: ClassVar[int] = 2
    reference: ClassVar[str] = "Owen (2013), section 8.2"

    def noise(self, key: jax.Array, num_samples: int, dimensions: int, dtype: Any) -> Float[Array, "n d"]:
        u = standard_noise(key, (num_samples // 2, dimensions), dtype)
        return jnp.concatenate([u, 1 - u])

    def evaluations(self, q: Any, num_samples: int) -> int:
        return num_samples + num_samples % 2


class LatinHypercube(AbstractDesignedNoise):
    """Pathwise with u_ij = (permutation_j(i) + noise) / K: removes the variance of the additive part of f.

    McKay, Beckman & Conover (1979), eq. 2.1; Owen (2013), "Monte Carlo theory", section 10.3.
    """

    minimum_samples: ClassVar[int] = 1
    reference: ClassVar[str] = "McKay, Beckman & Conover (1979)"

    def noise(self, key: jax.Array, num_samples: int, dimensions: int, dtype: Any) -> Float[Array, "n d"]:
        order_key, noise_key = jax.random.split(key)
        columns = jax.random.split(order_key, dimensions)
        order = jax.vmap(lambda k: jax.random.permutation(k, num_samples), out_axes=1)(columns)
        return (order.astype(dtype) + standard_noise(noise_key, order.shape, dtype)) / num_samples


class Sobol(AbstractDesignedNoise):
    """Pathwise with K points of a scrambled Sobol sequence: for smooth f the variance falls faster than 1/K.

    Each call scrambles anew, by a random linear matrix per dimension and a digital shift (Matousek 1998), so that every
    point is uniform. Best if K is a power of two. At most 21201 dimensions (Joe & Kuo 2008). Owen (1997), theorem 2;
    Buchholz, Wenzel & Mandt (2018), section 3.
    """

    minimum_samples: ClassVar[int] = 1
    reference: ClassVar[str] = "Buchholz, Wenzel & Mandt (2018), section 3; Matousek (1998)"

    def noise(self, key: jax.Array, num_samples: int, dimensions: int, dtype: Any) -> Float[Array, "n d"]:
        matrix_key, shift_key, noise_key = jax.random.split(key, 3)
        points = jnp.asarray(_digits(num_samples, dimensions))
        lower = jax.random.bernoulli(matrix_key, 0.5, (dimensions, _BITS, _BITS)).astype(jnp.float32)
        matrix = jnp.tril(lower, -1) + jnp.eye(_BITS, dtype=jnp.float32)[None]
        shift = jax.random.bernoulli(shift_key, 0.5, (dimensions, _BITS)).astype(jnp.float32)
        digits = jnp.mod(jnp.einsum("djk,ndk->ndj", matrix, points) + shift[None], 2).astype(dtype)
        weights = jnp.asarray(0.5 ** np.arange(1, _BITS + 1), dtype)
        return digits @ weights + standard_noise(noise_key, (num_samples, dimensions), dtype) * 0.5**_BITS


def _digits(num_samples: int, dimensions: int) -> np.ndarray:
    """The binary digits of the unscrambled points, the most significant first, as float32."""
    from scipy.stats.qmc import Sobol  # here, as importing it takes longer than all estimators together

    with warnings.catch_warnings():
        # scipy warns if num_samples is not a power of two: the points lose balance, but the mean stays unbiased.
        warnings.simplefilter("ignore")
        points = Sobol(dimensions, scramble=False, bits=_BITS).random(num_samples)
    integers = np.round(points * 2**_BITS).astype(np.int64)
    return ((integers[..., None] >> np.arange(_BITS - 1, -1, -1)) & 1).astype(np.float32)


_Mixture = dist.MixtureSameFamily | dist.MixtureGeneral


class RaoBlackwellizedMixture(AbstractEstimator):
    """sum_k w_k f(z_k), z_k = g_k(eps) drawn from component k with noise common to all components.

    The sum over components is exact, so that the weights have an ordinary derivative. One evaluation of f per
    component.
    Casella & Robert (1996), section 2, applied to the index of the component.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "unbatched mixtures of reparameterizable components, and an f that is continuous in z"
    reference: ClassVar[str] = "Casella & Robert (1996), section 2"

    maximum_components: int = 256

    def refusal(self, q: dist.Distribution) -> str | None:
        if not isinstance(q, _Mixture):
            return f"{type(q).__name__} is not a mixture"
        if q.batch_shape:
            return f"a batch of mixtures, {q.batch_shape}, has too many joint components: vmap over them instead"
        if q.mixture_size > self.maximum_components:
            return f"{q.mixture_size} components, more than maximum_components={self.maximum_components}"
        return _refused_component(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
        sizes = [leaf.mixture_size for leaf in flat]
        choice = jnp.stack([grid.reshape(-1) for grid in jnp.meshgrid(*map(jnp.arange, sizes), indexing="ij")])
        probs = [normalized(leaf.mixing_distribution).probs[index] for leaf, index in zip(flat, choice, strict=True)]
        weights = functools.reduce(jnp.multiply, probs)

        def one(draw_key: jax.Array) -> Any:
            *keys, f_key = jax.random.split(draw_key, len(flat) + 1)
            draws = [_components(leaf, k)[i] for leaf, k, i in zip(flat, keys, choice, strict=True)]
            values = evaluate_common(f, jax.tree.unflatten(structure, draws), f_key)
            return jax.tree.map(lambda leaf: jnp.sum(along(weights, leaf) * leaf, axis=0), values)

        return mean(jax.vmap(one)(jax.random.split(key, num_samples)))

    def evaluations(self, q: Any, num_samples: int) -> int:
        total = num_samples
        for leaf in jax.tree.leaves(q, is_leaf=is_distribution):
            total *= leaf.mixture_size
        return total


def _refused_component(q: dist.Distribution) -> str | None:
    """Why a component of a mixture has no pathwise derivative; ``None`` where all have one."""
    parts = q.component_distributions if isinstance(q, dist.MixtureGeneral) else [q.component_distribution]
    reasons = [reason for part in parts if (reason := not_reparameterizable(part)) is not None]
    return f"component {reasons[0]}" if reasons else None


def _components(q: dist.Distribution, key: jax.Array) -> Float[Array, "k *event"]:
    """One draw of every component, with common noise where the components can be separated."""
    if isinstance(q, dist.MixtureGeneral):
        return jnp.stack([rsample(part, key) for part in q.component_distributions])
    apart = elements(q.component_distribution)
    if apart is None:
        return rsample(q.component_distribution, key)
    parameters, rebuild = apart
    return jax.vmap(lambda p: rsample(rebuild(p), key))(parameters)


class MixtureIndexScore(AbstractEstimator):
    """(1/K) sum_i (f(z_i) - b_i) d log w_{k_i} + df(z_i), k_i ~ w, z_i = g_{k_i}(eps_i), b_i the mean over the others.

    The weights are differentiated by the leave-one-out score of the index (Kool et al. 2019, eq. 8), the components
    through their draws. This is unbiased however far apart the components are, and takes one evaluation of f per draw.
    In a batch of mixtures the score of every index multiplies all of f: use `vmap` if f has a separate term for each.
    Schulman et al. (2015), "Gradient estimation using stochastic computation graphs", theorem 1.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = "mixtures of reparameterizable components, and an f that is continuous in z"
    reference: ClassVar[str] = "Schulman et al. (2015), theorem 1; Kool et al. (2019), eq. 8"

    def refusal(self, q: dist.Distribution) -> str | None:
        if not isinstance(q, _Mixture):
            return f"{type(q).__name__} is not a mixture"
        return _refused_component(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)

        def given(index: list[Array], k: jax.Array) -> Any:
            *keys, f_key = jax.random.split(k, len(flat) + 1)
            z = [_component(leaf, each, chosen) for leaf, each, chosen in zip(flat, keys, index, strict=True)]
            return f(jax.tree.unflatten(structure, z), f_key)

        indices = [leaf.mixing_distribution.expand(leaf.batch_shape) for leaf in flat]
        _, values, log_probs = scored_draws(given, indices, key, num_samples)
        return mean(boxed(values, log_probs, leave_one_out(values)))


def _component(q: dist.Distribution, key: jax.Array, index: Int[Array, "*batch"]) -> Float[Array, "*draw"]:
    """A draw of the chosen component."""
    same = not q.batch_shape and isinstance(q, dist.MixtureSameFamily)
    apart = elements(q.component_distribution) if same else None
    if apart is not None:
        parameters, rebuild = apart
        return rsample(rebuild({name: value[index] for name, value in parameters.items()}), key)
    every = draw_all(q, key, ())
    place = index.reshape(index.shape + (1,) * (1 + q.event_dim))
    return jnp.take_along_axis(every, place, index.ndim).squeeze(index.ndim)
