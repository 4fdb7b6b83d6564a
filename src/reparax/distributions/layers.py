"""Layers of Normals, each given the layer before it: hierarchical posteriors and priors as maps of noise."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.flows import Pushforward
from reparax.distributions.maps import Mapped
from reparax.pytrees import soft_bound
from reparax.reparameterization import innermost

Moments = tuple[Float[Array, "*s"], Float[Array, "*s"]]
"""Means and standard deviations."""

Slices = tuple[tuple[int, int], ...]
"""Where each layer starts and ends in z, in the order in which the layers are drawn."""


@runtime_checkable
class Layered(Protocol):
    """A map of standard Normal noise that makes z a chain of Normals: z_l = m_l + s_l e_l, given the layers before.

    Attributes:
        slices: Where the layers are in z, in the order in which they are drawn.
    """

    @property
    def slices(self) -> Slices: ...

    def forward_and_log_det(self, e: Float[Array, " d"]) -> Mapped:
        """The layers that the noise makes, and the sum of all log s."""
        ...

    def conditionals(self, z: Float[Array, " d"]) -> Moments:
        """m and s of every dimension, given the layers of z before it."""
        ...


class Layers(eqx.Module):
    """z_l = m_l(z_(l-1)) + s_l(z_(l-1)) e_l, layer after layer.

    Attributes:
        layers: For each layer, in the order in which they are drawn, from the layer before (nothing, for the first) to
            m and log s, shape ``(2, size)``.
        slices: Where each of them is in z.
    """

    layers: tuple[Callable[[Array], Array], ...]
    slices: Slices = eqx.field(static=True)

    def forward_and_log_det(self, e: Float[Array, " d"]) -> Mapped:
        """The layers that the noise makes, and the sum of all log s."""
        loc, log_scale = self._moments(lambda place, m, s: m + jnp.exp(s) * e[slice(*place)], e)
        return loc + jnp.exp(log_scale) * e, jnp.sum(log_scale)

    def inverse_and_log_det(self, z: Float[Array, " d"]) -> Mapped:
        """The noise of z, in one pass."""
        loc, log_scale = self._moments(lambda place, m, s: z[slice(*place)], z)
        return (z - loc) * jnp.exp(-log_scale), -jnp.sum(log_scale)

    def conditionals(self, z: Float[Array, " d"]) -> Moments:
        """m and s of every dimension, given the layer of z before it."""
        loc, log_scale = self._moments(lambda place, m, s: z[slice(*place)], z)
        return loc, jnp.exp(log_scale)

    def _moments(self, value: Callable[[tuple[int, int], Array, Array], Array], like: Array) -> Moments:
        """m and log s of every dimension, for layers with a value."""
        before, found = like[:0], []
        for layer, place in zip(self.layers, self.slices, strict=True):
            m, s = layer(before)
            before = value(place, m, s)
            found.append((place, m, s))
        found.sort(key=lambda each: each[0])
        return jnp.concatenate([m for _, m, _ in found]), jnp.concatenate([s for _, _, s in found])


def bounded_scale(moments: Float[Array, "2 size"]) -> Float[Array, "2 size"]:
    """Means and log standard deviations, the latter softly bounded."""
    loc, log_scale = moments
    return jnp.stack([loc, soft_bound(log_scale, -6.0, 4.0)])


class NormalOf(eqx.Module):
    """The mean and the log standard deviation, softly bounded, of a layer given the one before.

    Attributes:
        network: To both, shape ``(2, size)``.
    """

    network: Callable[[Array], Array]

    def __call__(self, before: Float[Array, " k"]) -> Float[Array, "2 size"]:
        return bounded_scale(self.network(before))


class Constant(eqx.Module):
    """A layer that depends on no other.

    Attributes:
        moments: Its mean and log standard deviation, shape ``(2, size)``.
    """

    moments: Float[Array, "2 size"]

    def __call__(self, before: Float[Array, " k"]) -> Float[Array, "2 size"]:
        return self.moments


class Block(Protocol):
    """One layer of `Residual`: from the state to m and log s, and from the state and z to the next state."""

    def moments(self, state: Float[Array, " h"]) -> Moments: ...

    def next(self, state: Float[Array, " h"], z: Float[Array, " k"]) -> Float[Array, " h"]: ...


class Residual(eqx.Module):
    """z_l = m(h_l) + s(h_l) e_l, h_(l+1) a function of h_l and z_l: equal layers that share a state, in one scan.

    Attributes:
        blocks: A `Block` whose arrays have a first axis of layers.
        start: The state of the first layer.
        num_layers: The number of layers.
        size: The dimensions of each.
    """

    blocks: Any
    start: Float[Array, " h"]
    num_layers: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    @property
    def slices(self) -> Slices:
        """Where the layers are in z."""
        return equal_slices(self.num_layers * self.size, self.num_layers)

    def forward_and_log_det(self, e: Float[Array, " d"]) -> Mapped:
        """The layers that the noise makes, and the sum of all log s."""
        loc, log_scale = self._moments(lambda m, s, noise: m + jnp.exp(s) * noise, e)
        return loc + jnp.exp(log_scale) * e, jnp.sum(log_scale)

    def inverse_and_log_det(self, z: Float[Array, " d"]) -> Mapped:
        """The noise of z, in one pass."""
        loc, log_scale = self._moments(lambda m, s, given: given, z)
        return (z - loc) * jnp.exp(-log_scale), -jnp.sum(log_scale)

    def conditionals(self, z: Float[Array, " d"]) -> Moments:
        """m and s of every dimension, given the layers of z before it."""
        loc, log_scale = self._moments(lambda m, s, given: given, z)
        return loc, jnp.exp(log_scale)

    def _moments(self, value: Callable[[Array, Array, Array], Array], inputs: Float[Array, " d"]) -> Moments:
        """m and log s of every dimension, for layers with a value, which may depend on an input each."""

        def step(state: Array, of_layer: tuple[Any, Array]) -> tuple[Array, Moments]:
            block, here = of_layer
            m, s = block.moments(state)
            return block.next(state, value(m, s, here)), (m, s)

        by_layer = inputs.reshape(self.num_layers, self.size)
        _, (loc, log_scale) = jax.lax.scan(step, self.start, (self.blocks, by_layer))
        return loc.ravel(), log_scale.ravel()


def layered_normal(layers: Layered, size: int) -> Pushforward:
    """The distribution of z of a chain of Normals with ``size`` dimensions."""
    return Pushforward(dist.Normal(jnp.zeros(size), jnp.ones(size)).to_event(1), layers)


def conditional_normals(
    q: dist.Distribution, p: dist.Distribution
) -> tuple[Callable[[Array], Moments], Callable[[Array], Moments]] | None:
    """For two chains of Normals in the same order, what each dimension is given those before it; None for others.

    The chain rule, KL(q || p) = sum_l E_q[KL(q(z_l | z_<l) || p(z_l | z_<l))], needs the same order. Independent
    Normals are a chain in every order.
    """
    orders = [_order(one) for one in (q, p)]
    slices = {order for order in orders if order}
    if None in orders or len(slices) != 1:
        return None
    return _moments_of(q), _moments_of(p)


def _order(one: dist.Distribution) -> Slices | None:
    """The order of a chain of Normals, empty if it does not matter; None for other distributions."""
    inner = innermost(one)
    if type(inner) is dist.Normal and one.batch_shape == () and len(one.event_shape) == 1:
        return ()
    if isinstance(inner, Pushforward) and isinstance(inner.transform, Layered) and one.batch_shape == ():
        return inner.transform.slices if _order(inner.base) == () else None
    return None


def _moments_of(one: dist.Distribution) -> Callable[[Array], Moments]:
    inner: Any = innermost(one)
    if isinstance(inner, dist.Normal):
        return lambda z: (jnp.broadcast_to(inner.loc, z.shape), jnp.broadcast_to(inner.scale, z.shape))
    base, layers = innermost(inner.base), inner.transform

    def moments(z: Array) -> Moments:
        loc, scale = layers.conditionals(z)
        return loc + scale * base.loc, scale * base.scale

    return moments


def equal_slices(size: int, num_layers: int) -> Slices:
    """The places of layers of equal size in z."""
    each = size // num_layers
    return tuple((index * each, (index + 1) * each) for index in range(num_layers))


def layer_slices(size: int, num_layers: int, ratio: float) -> Slices:
    """The places of layers in z, the first one deepest; each has ``ratio`` times the dimensions of the layer after it.

    The last layer has what remains, and no layer is empty, so that there may be fewer layers than asked for.
    """
    num_layers = min(num_layers, size)
    shares = [ratio ** (num_layers - 1 - index) for index in range(num_layers)]
    sizes: list[int] = []
    for index, share in enumerate(shares[:-1]):
        most = size - sum(sizes) - (num_layers - 1 - index)
        sizes.append(max(1, min(most, round(size * share / sum(shares)))))
    sizes.append(size - sum(sizes))
    ends = [sum(sizes[: index + 1]) for index in range(num_layers)]
    return tuple((end - size, end) for size, end in zip(sizes, ends, strict=True))
