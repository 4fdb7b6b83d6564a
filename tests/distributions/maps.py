"""Maps of known volume for the tests of pushforwards, written out plainly."""

import equinox as eqx
import jax
import jax.numpy as jnp


class Triangular(eqx.Module):
    """z = m + L e, L lower triangular with a diagonal that is not zero."""

    shift: jax.Array
    lower: jax.Array

    def forward_and_log_det(self, e):
        return self.shift + self.lower @ e, jnp.sum(jnp.log(jnp.abs(jnp.diagonal(self.lower))))

    def inverse_and_log_det(self, z):
        e = jax.scipy.linalg.solve_triangular(self.lower, z - self.shift, lower=True)
        return e, -jnp.sum(jnp.log(jnp.abs(jnp.diagonal(self.lower))))


class WithoutInverse(eqx.Module):
    """The same map, whose inverse is hidden."""

    inside: eqx.Module

    def forward_and_log_det(self, e):
        return self.inside.forward_and_log_det(e)


class Planar(eqx.Module):
    """z = e + u tanh(w e + b), Rezende & Mohamed (2015), equations 10 to 12; injective where u w > -1. No inverse."""

    u: jax.Array
    w: jax.Array
    b: jax.Array

    def forward_and_log_det(self, e):
        h = jnp.tanh(self.w @ e + self.b)
        return e + self.u * h, jnp.log(jnp.abs(1 + (1 - h**2) * (self.u @ self.w)))


class InverseAutoregressive(eqx.Module):
    """z_i = e_i s_i(e_<i) + m_i(e_<i), Kingma et al. (2016), equations 9 to 11: one pass. No inverse."""

    scales: jax.Array
    shifts: jax.Array
    activation: object = jnp.tanh

    def scale_and_shift(self, e):
        before = jnp.tril(jnp.ones_like(self.scales), -1)
        return jnp.exp(0.7 * self.activation((self.scales * before) @ e)), (self.shifts * before) @ self.activation(e)

    def forward_and_log_det(self, e):
        scale, shift = self.scale_and_shift(e)
        return e * scale + shift, jnp.sum(jnp.log(scale))


class Bent(eqx.Module):
    """z = e + a tanh(e), element by element, a > -1; of any event shape."""

    a: jax.Array

    def forward_and_log_det(self, e):
        h = jnp.tanh(e)
        return e + self.a * h, jnp.sum(jnp.log1p(self.a * (1 - h**2)))


class Exponential(eqx.Module):
    """z = exp(a e): positive, as it says itself."""

    a: jax.Array

    @property
    def codomain(self):
        from numpyro.distributions import constraints

        return constraints.independent(constraints.positive, 1)

    def forward_and_log_det(self, e):
        return jnp.exp(self.a * e), jnp.sum(self.a * e) + e.size * jnp.log(jnp.abs(self.a))

    def inverse_and_log_det(self, z):
        e = jnp.log(z) / self.a
        return e, -jnp.sum(self.a * e) - e.size * jnp.log(jnp.abs(self.a))


class Table(eqx.Module):
    """The row of a matrix that a class, or a bit, names: a map of atoms."""

    rows: jax.Array

    def forward_and_log_det(self, e):
        return self.rows[e.astype(int)], jnp.full((), 7.0)  # atoms are not stretched: it must not be read
