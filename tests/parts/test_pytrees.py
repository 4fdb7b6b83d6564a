"""Frozen arrays, the split of a pytree, and the soft bound."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reparax.pytrees import Frozen, combine, exp_soft_bound, num_parameters, partition, soft_bound


class Holder(eqx.Module):
    weight: jax.Array
    fixed: Frozen
    count: jax.Array
    name: str = eqx.field(static=True, default="x")


def holder() -> Holder:
    return Holder(jnp.ones((2, 3)), Frozen(jnp.full(4, 7.0)), jnp.arange(3))


def test_only_floating_arrays_outside_frozen_are_trainable():
    trainable, rest = partition(holder())
    assert [leaf.shape for leaf in jax.tree.leaves(trainable)] == [(2, 3)]
    assert num_parameters(holder()) == 6
    whole = combine(trainable, rest)
    assert eqx.tree_equal(whole, holder()) is True or bool(eqx.tree_equal(whole, holder()))


LOW, HIGH = -14.0, 8.0


@pytest.mark.parametrize("x", [-np.inf, -1e30, -1e9, -1e6, -1e3, -14.0, 0.0, 8.0, 1e3, 1e6, 1e8, 1e9, 1e30, np.inf])
def test_soft_bound_holds_at_any_size(x):
    found = float(soft_bound(jnp.float32(x), LOW, HIGH))
    exact = LOW + np.logaddexp(0, x - LOW) - np.logaddexp(0, x - HIGH) if abs(x) < 1e3 else (HIGH if x > 0 else LOW)
    assert LOW - 1e-5 <= found <= HIGH + 1e-5
    assert abs(found - exact) < 1e-5


def test_the_exponential_of_a_soft_bound_has_its_values_and_slopes():
    x = np.array([-60.0, -15.0, -14.0, -3.0, 0.0, 7.5, 8.0, 20.0, 47.0])
    value, slope = jax.vmap(jax.value_and_grad(lambda x: exp_soft_bound(x, LOW, HIGH)))(jnp.float32(x))
    expected = np.exp(LOW + np.logaddexp(0, x - LOW) - np.logaddexp(0, x - HIGH))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    share = 1 / (1 + np.exp(LOW - x)) - 1 / (1 + np.exp(HIGH - x))
    np.testing.assert_allclose(slope, np.where(x < LOW - 40, 0.0, expected * share), rtol=1e-3, atol=1e-9)
    ends = jax.vmap(lambda x: exp_soft_bound(x, LOW, HIGH))(jnp.array([-np.inf, -1e30, 1e30, np.inf]))
    np.testing.assert_allclose(ends, np.exp([LOW, LOW, HIGH, HIGH]), rtol=1e-5)


def test_soft_bound_is_the_identity_inside_and_never_falls():
    x = jnp.linspace(-60.0, 60.0, 4001)
    bounded = np.asarray(soft_bound(x, LOW, HIGH))
    assert np.all(np.diff(bounded) >= -1e-5)
    assert abs(bounded[2000]) < 1e-3
    slopes = jax.vmap(jax.grad(lambda x: soft_bound(x, LOW, HIGH)))(jnp.array([-1e30, -1e6, -3.0, 1e6, 1e30]))
    np.testing.assert_allclose(slopes, [0, 0, 1, 0, 0], atol=1e-4)
