"""Invertible maps of one vector with their volumes: the transforms of normalizing flows, for a `Pushforward`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Mapped = tuple[Float[Array, " d"], Float[Array, ""]]
"""A value, and the log of the volume by which the map changes its neighborhood."""

LARGEST_LOGIT = 7.0
LEAST_STRETCH = 1e-4
NUM_HALVINGS = 40


class Sequential(eqx.Module):
    """Maps, one applied to the result of another.

    Attributes:
        maps: The maps, in the order in which they are applied.
    """

    maps: tuple[Any, ...]

    def forward_and_log_det(self, e: Float[Array, " d"]) -> Mapped:
        """The image of e, and the log-determinant."""
        total = jnp.zeros((), e.dtype)
        for one in self.maps:
            e, log_det = one.forward_and_log_det(e)
            total = total + log_det
        return e, total

    def inverse_and_log_det(self, z: Float[Array, " d"]) -> Mapped:
        """The value that is mapped to z, and the log-determinant of the inverse."""
        total = jnp.zeros((), z.dtype)
        for one in reversed(self.maps):
            z, log_det = one.inverse_and_log_det(z)
            total = total + log_det
        return z, total


class Inverse(eqx.Module):
    """The inverse of a map.

    Attributes:
        map: The map.
    """

    map: Any

    def forward_and_log_det(self, e: Float[Array, " d"]) -> Mapped:
        """The value that the map maps to e."""
        return self.map.inverse_and_log_det(e)

    def inverse_and_log_det(self, z: Float[Array, " d"]) -> Mapped:
        """The image of z under the map."""
        return self.map.forward_and_log_det(z)


class Shifted(eqx.Module):
    """z = loc + scale e, for each dimension.

    Attributes:
        loc: The shifts.
        scale: The factors, positive.
    """

    loc: Float[Array, " d"]
    scale: Float[Array, " d"]

    def forward_and_log_det(self, e: Float[Array, " d"]) -> Mapped:
        """e scaled and shifted, and the sum of the log-scales."""
        return self.loc + self.scale * e, jnp.sum(jnp.log(self.scale))

    def inverse_and_log_det(self, z: Float[Array, " d"]) -> Mapped:
        """The value that is scaled and shifted to z."""
        return (z - self.loc) / self.scale, -jnp.sum(jnp.log(self.scale))


class Planar(eqx.Module):
    """z = e + u tanh(w'e + b), Rezende & Mohamed (2015), equations 10 to 12.

    u is moved along w so that w'u > -1 and the map is invertible (their appendix A.1). The inverse is found by halving
    an interval: only w'e is unknown, and w'z is an increasing function of it.

    Attributes:
        normal: w.
        direction: u, before it is moved.
        offset: b.
    """

    normal: Float[Array, " d"]
    direction: Float[Array, " d"]
    offset: Float[Array, ""]

    def forward_and_log_det(self, e: Float[Array, " d"]) -> Mapped:
        """The image of e, and log(1 + w'u (1 - tanh^2))."""
        direction, along = self._invertible()
        bend = jnp.tanh(jnp.dot(self.normal, e) + self.offset)
        return e + direction * bend, jnp.log1p(along * (1 - bend**2))

    def inverse_and_log_det(self, z: Float[Array, " d"]) -> Mapped:
        """The value that is mapped to z, and the log-determinant of the inverse."""
        direction, along = self._invertible()
        e = z - direction * jnp.tanh(self._before(jnp.dot(self.normal, z), along) + self.offset)
        return e, -self.forward_and_log_det(e)[1]

    def _invertible(self) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """u, moved along w, and w'u."""
        along = jnp.dot(self.normal, self.direction)
        allowed = jax.nn.softplus(along) - 1 + LEAST_STRETCH
        direction = self.direction + (allowed - along) * self.normal / (jnp.sum(self.normal**2) + 1e-8)
        return direction, jnp.dot(self.normal, direction)

    def _before(self, after: Float[Array, ""], along: Float[Array, ""]) -> Float[Array, ""]:
        """w'e, from w'z = w'e + w'u tanh(w'e + b); one step of Newton's method gives it its derivative."""

        def excess(place: Array, after: Array, along: Array, offset: Array) -> Array:
            return place + along * jnp.tanh(place + offset) - after

        fixed = jax.lax.stop_gradient((after, along, self.offset))

        def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = (low + high) / 2
            above = excess(middle, *fixed) > 0
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        reach = jnp.abs(fixed[1])
        low, high = jax.lax.fori_loop(0, NUM_HALVINGS, halve, (fixed[0] - reach, fixed[0] + reach))
        place = jax.lax.stop_gradient((low + high) / 2)
        slope = 1 + fixed[1] * (1 - jnp.tanh(place + fixed[2]) ** 2)
        return place - excess(place, after, along, self.offset) / slope


class Reflection(eqx.Module):
    """z = e - 2 v (v'e) / (v'v), which keeps volumes: Tomczak & Welling (2016), "Householder flow", equation 10.

    Attributes:
        normal: v; the first axis takes the place of zero.
    """

    normal: Float[Array, " d"]

    def forward_and_log_det(self, e: Float[Array, " d"]) -> Mapped:
        """The reflection of e."""
        first = jnp.zeros_like(self.normal).at[0].set(1.0)
        normal = jnp.where(jnp.sum(self.normal**2) > 1e-12, self.normal, first)
        return e - 2 * normal * (jnp.dot(normal, e) / jnp.dot(normal, normal)), jnp.zeros((), e.dtype)

    def inverse_and_log_det(self, z: Float[Array, " d"]) -> Mapped:
        """The reflection of z, as a reflection is its own inverse."""
        return self.forward_and_log_det(z)


class Autoregressive(eqx.Module):
    """z_i = s_i e_i + (1 - s_i) m_i, in reversed order; s_i and m_i depend on e_1 to e_(i-1).

    Kingma et al. (2016), "Improved variational inference with inverse autoregressive flow", equations 13 and 14. The
    inverse takes as many passes as there are dimensions.

    Attributes:
        network: From e to m and the logits of s, shape ``(2 d,)``; output i must not depend on e_i and later ones.
    """

    network: Callable[[Array], Array]

    def forward_and_log_det(self, e: Float[Array, " d"]) -> Mapped:
        """The image of e in one pass, and the sum of the log s_i."""
        shift, log_scale = self._parameters(e)
        scale = jnp.exp(log_scale)
        return (scale * e + (1 - scale) * shift)[::-1], jnp.sum(log_scale)

    def inverse_and_log_det(self, z: Float[Array, " d"]) -> Mapped:
        """The value that is mapped to z, one dimension after the other."""
        turned = z[::-1]

        def next_dimension(_: Array, e: Array) -> Array:
            shift, log_scale = self._parameters(e)
            return shift + (turned - shift) * jnp.exp(-log_scale)

        e = jax.lax.fori_loop(0, len(z), next_dimension, jnp.zeros_like(z))
        return e, -jnp.sum(self._parameters(e)[1])

    def _parameters(self, e: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """m, and log s; near the identity for logits of zero."""
        shift, logit = jnp.split(self.network(e), 2)
        return shift, jax.nn.log_sigmoid(2.0 + LARGEST_LOGIT * jnp.tanh(logit / LARGEST_LOGIT))


class SplineCoupling(eqx.Module):
    """Monotone rational-quadratic splines of some dimensions, whose knots depend on the others, which stay.

    Durkan et al. (2019), "Neural spline flows", section 3.1; the identity outside [-``reach``, ``reach``].

    Attributes:
        network: From z with zeros for the changed dimensions to `num_spline_parameters` numbers for each dimension.
        mask: 1 where a dimension stays, else 0.
        reach: Where the splines end.
    """

    network: Callable[[Array], Array]
    mask: tuple[int, ...] = eqx.field(static=True)
    reach: float = eqx.field(static=True, default=5.0)

    def forward_and_log_det(self, e: Float[Array, " d"]) -> Mapped:
        """The splines of e, and the sum of the logs of their slopes."""
        return self._applied(_spline, e)

    def inverse_and_log_det(self, z: Float[Array, " d"]) -> Mapped:
        """The value whose splines are z, by the root of a quadratic equation."""
        return self._applied(_spline_inverse, z)

    def _applied(self, function: Callable[..., tuple[Array, Array]], x: Float[Array, " d"]) -> Mapped:
        stays = np.asarray(self.mask, bool)
        parameters = self.network(jnp.where(stays, x, 0.0)).reshape(len(x), -1)
        changed, log_slope = jax.vmap(lambda x, p: function(x, *_knots(p, self.reach), self.reach))(x, parameters)
        return jnp.where(stays, x, changed), jnp.sum(jnp.where(stays, 0.0, log_slope))


LEAST_BIN = 1e-2
LEAST_SLOPE = 1e-2
LARGEST_KNOT = 4.0
"""Bounds of the splines' bins and slopes: steeper ones could not be inverted in float32."""


def num_spline_parameters(num_bins: int) -> int:
    """The numbers that determine a spline of one dimension."""
    return 3 * num_bins - 1


def _knots(parameters: Float[Array, " p"], reach: float) -> tuple[Array, Array, Array]:
    """The places of the knots, their values, and the slopes there; the identity for zeros."""
    num_bins = (len(parameters) + 1) // 3
    parameters = LARGEST_KNOT * jnp.tanh(parameters / LARGEST_KNOT)
    widths, heights, slopes = jnp.split(parameters, (num_bins, 2 * num_bins))
    ends = jnp.full(1, -reach), jnp.full(1, reach)
    between = (2 * reach * jnp.cumsum(_fractions(sizes))[:-1] - reach for sizes in (widths, heights))
    x, y = (jnp.concatenate([ends[0], places, ends[1]]) for places in between)
    inner = LEAST_SLOPE + (1 - LEAST_SLOPE) * jax.nn.softplus(slopes + jnp.log(jnp.e - 1))
    return x, y, jnp.concatenate([jnp.ones(1), inner, jnp.ones(1)])


def _fractions(logits: Float[Array, " k"]) -> Float[Array, " k"]:
    return LEAST_BIN + (1 - LEAST_BIN * len(logits)) * jax.nn.softmax(logits)


def _bin(place: Float[Array, ""], of: Float[Array, " k"], x: Array, y: Array, slopes: Array) -> tuple[Array, ...]:
    """The bin of a place among knots: its left end, width, bottom and height, and the slopes at both ends."""
    left = jnp.clip(jnp.searchsorted(of, place, side="right") - 1, 0, len(of) - 2)
    return x[left], x[left + 1] - x[left], y[left], y[left + 1] - y[left], slopes[left], slopes[left + 1]


def _spline(e: Float[Array, ""], x: Array, y: Array, slopes: Array, reach: float) -> tuple[Array, Array]:
    """Equation 4 of Durkan et al. (2019), and the log of its derivative, equation 5."""
    inside = jnp.abs(e) < reach
    place = jnp.where(inside, e, 0.0)
    start, width, bottom, height, before, after = _bin(place, x, x, y, slopes)
    t = (place - start) / width
    value = bottom + height * _share(t, height / width, before, after)
    log_slope = _log_slope(t, height / width, before, after)
    return jnp.where(inside, value, e), jnp.where(inside, log_slope, 0.0)


def _spline_inverse(z: Float[Array, ""], x: Array, y: Array, slopes: Array, reach: float) -> tuple[Array, Array]:
    """The root of equation 6 of Durkan et al. (2019), equations 7 and 8."""
    inside = jnp.abs(z) < reach
    place = jnp.where(inside, z, 0.0)
    start, width, bottom, height, before, after = _bin(place, y, x, y, slopes)
    mean, up = height / width, place - bottom
    curve = up * (before + after - 2 * mean)
    a, b, c = height * (mean - before) + curve, height * before - curve, -mean * up
    t = 2 * c / (-b - jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 1e-12)))
    return (
        jnp.where(inside, start + width * t, z),
        jnp.where(inside, -_log_slope(t, mean, before, after), 0.0),
    )


def _share(t: Array, mean: Array, before: Array, after: Array) -> Array:
    """How much of a bin's height is reached at a fraction t of its width."""
    mixed = t * (1 - t)
    return (mean * t**2 + before * mixed) / (mean + (before + after - 2 * mean) * mixed)


def _log_slope(t: Array, mean: Array, before: Array, after: Array) -> Array:
    mixed = t * (1 - t)
    top = after * t**2 + 2 * mean * mixed + before * (1 - t) ** 2
    return 2 * jnp.log(mean) + jnp.log(top) - 2 * jnp.log(mean + (before + after - 2 * mean) * mixed)
