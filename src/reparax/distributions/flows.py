"""Base distributions pushed through maps with a known volume: normalizing flows, with or without an inverse."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Num
from numpyro.distributions import constraints

from reparax.errors import NoClosedForm, RecipeError
from reparax.reparameterization import (
    ParameterRule,
    composed,
    declared,
    innermost,
    is_discrete,
    is_reparameterizable,
    parameter_rules,
    rsample,
    rule,
)

LARGEST_LOG_SCALE = 2.0


class Coupling(eqx.Module):
    """One affine coupling: a network of the masked dimensions, which stay, scales and shifts the others.

    Attributes:
        network: From z with the other dimensions set to zero, shape ``(d,)``, to log-scales and shifts, ``(2 d,)``.
        mask: 1 where a dimension stays, else 0.
    """

    network: Callable[[Array], Array]
    mask: tuple[int, ...] = eqx.field(static=True)

    def scale_and_shift(self, z: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """Log-scales and shifts of the dimensions that do not stay; zeros for the others."""
        stays = jnp.asarray(self.mask, z.dtype)
        log_scale, shift = jnp.split(self.network(z * stays), 2)
        return LARGEST_LOG_SCALE * jnp.tanh(log_scale / LARGEST_LOG_SCALE) * (1 - stays), shift * (1 - stays)

    def forward_and_log_det(self, e: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """e scaled and shifted, and the log-determinant: the coupling is a transform of a `Pushforward`."""
        log_scale, shift = self.scale_and_shift(e)
        return e * jnp.exp(log_scale) + shift, jnp.sum(log_scale)

    def inverse_and_log_det(self, z: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """The value that was scaled and shifted to z, and the log-determinant of the inverse."""
        log_scale, shift = self.scale_and_shift(z)
        return (z - shift) * jnp.exp(-log_scale), -jnp.sum(log_scale)


def halves(latent_dim: int, depth: int) -> tuple[tuple[int, ...], ...]:
    """The masks of ``depth`` couplings: different halves of the dimensions, each followed by the other half."""
    masks = []
    for index in range(depth):
        half = [(i * 7 + (index // 2) * 3) % latent_dim < -(-latent_dim // 2) for i in range(latent_dim)]
        if latent_dim > 1 and len(set(half)) == 1:
            half = [i % 2 == 0 for i in range(latent_dim)]
        masks.append(tuple(int(stays != bool(index % 2)) for stays in half))
    return tuple(masks)


class CouplingFlow(dist.Distribution):
    """z = f_L(... f_1(eps)), eps ~ N(0, I): Dinh et al. (2017), "Density estimation using Real NVP", equations 7, 8.

    log p(z) = log N(f^-1(z); 0, I) - sum of the log-scales of all couplings; nats.

    Args:
        layers: The couplings, in the order in which they are applied to eps.
        latent_dim: The number of dimensions.
    """

    arg_constraints = {}
    support = constraints.real_vector
    pytree_data_fields = ("layers",)

    def __init__(self, layers: Sequence[Coupling], latent_dim: int, *, validate_args: bool | None = None) -> None:
        self.layers = tuple(layers)
        super().__init__(event_shape=(latent_dim,), validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s d"]:
        noise = jax.random.normal(key, (math.prod(sample_shape), *self.event_shape))
        return jax.vmap(self._forward)(noise).reshape(*sample_shape, *self.event_shape)

    def log_prob(self, value: Float[Array, "*s d"]) -> Float[Array, "*s"]:
        flat = jnp.reshape(value, (-1, *self.event_shape))
        return jax.vmap(self._log_prob)(flat).reshape(value.shape[:-1])

    def _forward(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        for layer in self.layers:
            z, _ = layer.forward_and_log_det(z)
        return z

    def _log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        total = jnp.zeros((), z.dtype)
        for layer in reversed(self.layers):
            z, log_det = layer.inverse_and_log_det(z)
            total = total + log_det
        return total - 0.5 * jnp.sum(z**2) - 0.5 * z.shape[0] * math.log(2 * math.pi)


@rule(CouplingFlow, declare=declared("composed (location-scale)", "layers"))
def _coupling_flow(q: CouplingFlow, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return q.sample(key, sample_shape)


Map = Callable[[Array], tuple[Array, Array]]


class Forward(Protocol):
    """The transform of a `Pushforward`: an injective, continuous map of ONE value, with its volume.

    If the volume jumps (as with leaky rectified units), the density jumps at a location that depends on the parameters:
    estimators that differentiate draws refuse it in E_q[f(z, log q(z))] unless f is `AssumedContinuous`.

    A transform may have two more members: ``inverse_and_log_det``, from z to e and log |det dT^-1/dz|, without which
    the density is known only at draws of the pushforward; and ``codomain``, the numpyro constraint on z, by default the
    real numbers. Its parameters are the floating numbers and arrays in it if it is a pytree (an `equinox.Module`).
    """

    def forward_and_log_det(self, e: Num[Array, "*event"]) -> tuple[Num[Array, "*pushed"], Float[Array, ""]]:
        """z = T(e), and log |det dT/de|."""
        ...


class Pushforward(dist.Distribution):
    """z = T(e), e ~ base: log q(z) = log base(e) - log |det dT/de|.

    Rezende & Mohamed (2015), equation 5, for one map; compositions, equations 6 and 7, are pushforwards of
    pushforwards. The density of a planar flow (their equations 10 to 12), which has no inverse in closed form, is known
    only at its draws; for an inverse autoregressive flow (Kingma et al. 2016, equations 9 to 11), draws and their
    densities take one pass. ``reparax.estimators.base_of`` gives both together, so that E_q[f(z, log q(z))] is an
    expectation over the base.

    A discrete base, or a `Delta`, has atoms, whose probabilities T does not change: log q(z) = log base(e).

    Args:
        base: The distribution of e. Every element of its batch goes through the same map.
        transform: The map T, injective: see `Forward`.
        event_shape: The shape of one z, by default that of one e.

    Raises:
        RecipeError: The base mixes atoms with a density.
    """

    arg_constraints = {}
    pytree_data_fields = ("base", "_parameters")
    pytree_aux_fields = ("_constants", "_structure")

    def __init__(
        self,
        base: dist.Distribution,
        transform: Forward,
        *,
        event_shape: tuple[int, ...] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        _check_base(base)
        self.base = base
        # Activation functions and sizes are leaves of many modules, but jax cannot trace them.
        leaves, self._structure = jax.tree.flatten(transform)
        self._parameters = tuple(leaf if _is_numeric(leaf) else None for leaf in leaves)
        self._constants = tuple(None if _is_numeric(leaf) else leaf for leaf in leaves)
        event_shape = base.event_shape if event_shape is None else tuple(event_shape)
        super().__init__(batch_shape=base.batch_shape, event_shape=event_shape, validate_args=validate_args)

    @property
    def transform(self) -> Any:
        """The map T."""
        pairs = zip(self._parameters, self._constants, strict=True)
        leaves = [parameter if constant is None else constant for parameter, constant in pairs]
        return jax.tree.unflatten(self._structure, leaves)

    @property
    def has_inverse(self) -> bool:
        """Whether the density is known at any value, not only at draws."""
        return hasattr(self.transform, "inverse_and_log_det")

    @property
    def support(self) -> constraints.Constraint:
        """The codomain of the transform, else the real numbers; for a base with atoms, a discrete constraint."""
        event_dim = len(self.event_shape)
        if is_atomic(self.base):
            return constraints.dependent(is_discrete=True, event_dim=event_dim)
        real = constraints.independent(constraints.real, event_dim) if event_dim else constraints.real
        return getattr(self.transform, "codomain", real)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Num[Array, "*s"]:
        """Draws, of shape ``sample_shape + batch_shape + event_shape``, as constants for differentiation."""
        path = is_reparameterizable(self.base) and not _is_fixed(self.base)
        with _numpyro_rules():
            draw = rsample(self.base, key, sample_shape) if path else self.base.sample(key, sample_shape)
            return jax.lax.stop_gradient(self.push(draw)[0])

    def log_prob(self, value: Num[Array, "*s"]) -> Float[Array, "*batch"]:
        """The log density at any value, by the inverse; nats.

        Raises:
            NoClosedForm: The transform has no inverse.
        """
        with _numpyro_rules():
            e, log_det = self.pull(value)
            return self.base.log_prob(e) + log_det

    @property
    def mean(self) -> Array:
        """Not known: E[T(e)] is not T(E[e])."""
        raise self._no_moment("mean")

    @property
    def variance(self) -> Array:
        """Not known."""
        raise self._no_moment("variance")

    def push(self, e: Num[Array, "*s"]) -> tuple[Num[Array, "*z"], Float[Array, "*batch"]]:
        """z = T(e) and log |det dT/de|, over any leading axes."""
        z, log_det = _over_front(self.transform.forward_and_log_det, e, self.base.event_shape)
        front = e.ndim - len(self.base.event_shape)
        if z.shape[front:] != self.event_shape:
            raise RecipeError(
                expected=f"{type(self.transform).__name__} to make values of shape {self.event_shape}",
                got=f"shape {z.shape[front:]}",
                cure=f"pass event_shape: Pushforward(base, transform, event_shape={z.shape[front:]})",
            )
        return z, self._stretched(log_det)

    def pull(self, z: Num[Array, "*s"]) -> tuple[Num[Array, "*e"], Float[Array, "*batch"]]:
        """e = T^-1(z) and log |det dT^-1/dz|, over any leading axes.

        Raises:
            NoClosedForm: The transform has no inverse.
        """
        if not self.has_inverse:
            kind = type(self.transform).__name__
            raise NoClosedForm(
                expected=f"a transform with an inverse, for the density at any value ({kind}.inverse_and_log_det)",
                got=f"{kind} without one: the density of its Pushforward is known only at its draws",
                cure="draw with estimators.sample_with_log_prob(q, key), or write E_q[f(z, log q(z))] as an "
                "expectation over the base with estimators.base_of(q)",
            )
        e, log_det = _over_front(self.transform.inverse_and_log_det, z, self.event_shape)
        return e, self._stretched(log_det)

    def _stretched(self, log_det: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return jnp.zeros_like(log_det) if is_atomic(self.base) else log_det

    def _no_moment(self, what: str) -> NoClosedForm:
        return NoClosedForm(
            expected=f"a distribution whose {what} is known in closed form",
            got=f"a Pushforward through {type(self.transform).__name__}",
            cure="estimate it from draws, or take estimators.code_of(q), the image of the base's mean, to stand for q",
        )


def _numpyro_rules() -> AbstractContextManager[Any]:
    """Lets numpyro broadcast and promote implicitly, even if the user's settings of jax forbid it."""
    stack = ExitStack()
    stack.enter_context(jax.numpy_rank_promotion("allow"))
    stack.enter_context(jax.numpy_dtype_promotion("standard"))
    return stack


def _is_numeric(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float)


def _over_front(function: Map, value: Array, event_shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The function of one event, over any leading axes."""
    front = value.shape[: value.ndim - len(event_shape)]
    if not front:
        return function(value)
    out, log_det = jax.vmap(function)(value.reshape((math.prod(front), *event_shape)))
    return out.reshape(front + out.shape[1:]), log_det.reshape(front)


def is_atomic(base: dist.Distribution) -> bool:
    """Whether draws of a distribution are atoms, with a probability instead of a density."""
    inner = innermost(base)
    if isinstance(inner, dist.TransformedDistribution | dist.MaskedDistribution):
        return is_atomic(inner.base_dist)
    if isinstance(inner, dist.MixtureSameFamily | dist.MixtureGeneral):
        return any(is_atomic(part) for part in _components(inner))
    return is_discrete(inner) or isinstance(inner, dist.Delta)


def _components(q: dist.Distribution) -> list[dist.Distribution]:
    if isinstance(q, dist.MixtureGeneral):
        return list(q.component_distributions)
    return [q.component_distribution] if isinstance(q, dist.MixtureSameFamily) else []


def _check_base(base: dist.Distribution) -> None:
    inner = innermost(base)
    hurdle = isinstance(inner, dist.HurdleProbs | dist.HurdleLogits) and not is_discrete(inner)
    if hurdle or len({is_atomic(part) for part in _components(inner)}) > 1:
        raise RecipeError(
            expected="a base that has a density, or one that has atoms",
            got=f"{type(inner).__name__}, which has both: the volume of the map applies to the density only",
            cure="push its two parts forward separately",
        )


def _is_fixed(base: dist.Distribution) -> bool:
    """Whether a distribution has no parameters, so that its draws need no derivative."""
    return not base.arg_constraints and not jax.tree.leaves(base)


def _declare(q: Pushforward) -> tuple[ParameterRule, ...]:
    noise = () if _is_fixed(q.base) else parameter_rules(q.base)
    moved = any(parameter is not None for parameter in q._parameters)
    name = f"parameters of {type(q.transform).__name__}"
    of_transform = declared("composed", name, reason="the sample passes through it") if moved else ()
    return tuple(composed(entry) for entry in noise) + of_transform


@rule(Pushforward, declare=_declare)
def _pushforward(q: Pushforward, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    draw = q.base.sample(key, sample_shape) if _is_fixed(q.base) else rsample(q.base, key, sample_shape)
    return q.push(draw)[0]
