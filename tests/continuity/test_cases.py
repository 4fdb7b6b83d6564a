"""Functions that jump are refused, functions that do not are not; what moves a jump, and what loses a derivative."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import pytest

from reparax.continuity import Interval, Variable, judge, source

from .cases import CONTINUOUS, JUMPS
from .more_cases import MORE_CONTINUOUS, MORE_JUMPS

X = jnp.ones(3)


def verdict(f, *arguments, variable=None):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        closed = jax.make_jaxpr(f)(*(arguments or (X,)))
    return judge(closed, [variable or Variable()] * len(closed.jaxpr.invars))


@pytest.mark.parametrize("name", [*JUMPS, *MORE_JUMPS])
def test_what_jumps_is_not_shown_to_be_continuous(name):
    assert verdict((MORE_JUMPS | JUMPS)[name]).variables[0] is not None


@pytest.mark.parametrize("name", [*CONTINUOUS, *MORE_CONTINUOUS])
def test_what_is_continuous_is_shown_to_be(name):
    found = verdict((MORE_CONTINUOUS | CONTINUOUS)[name])
    assert found.variables == (None,)
    assert found.held_back == (False,)


def test_variables_are_judged_apart():
    found = verdict(lambda x, y: jnp.where(x > 0, 1.0, 0.0) * y, X, X)
    assert found.variables[0] is not None
    assert found.variables[1] is None
    both = verdict(lambda x, y: jnp.where(x > y, 1.0, 0.0), X, X)
    assert None not in both.variables


def test_supports_decide_comparisons_and_domains():
    positive = Variable(Interval(0.0, jnp.inf, True, True))
    assert verdict(jnp.log).variables[0] is not None
    assert verdict(jnp.log, variable=positive).variables == (None,)
    assert verdict(lambda x: dist.HalfNormal(1.0).log_prob(x), variable=positive).variables == (None,)
    assert verdict(lambda x: 1 / (1 + x), variable=positive).variables == (None,)
    assert verdict(lambda x: 1 / (1 - x), variable=positive).variables[0] is not None
    assert verdict(lambda x: jnp.where(x > 0, 1.0, 0.0), variable=positive).variables == (None,)
    simplex = Variable(Interval(0.0, 1.0, True, True), density=False, simplex=True)
    assert verdict(lambda x: dist.Dirichlet(jnp.ones(3)).log_prob(x), variable=simplex).variables == (None,)


def test_values_with_atoms_can_be_equal_to_one_number():
    atoms = Variable(atomless=False, density=False)
    assert verdict(lambda x: (x == 0.5).astype(float)).variables == (None,)
    assert verdict(lambda x: (x == 0.5).astype(float), variable=atoms).variables[0] is not None
    assert verdict(lambda x: (x[0] - x[0] == 0).astype(float) * x).variables == (None,)
    assert verdict(lambda x: (x.sum() == 0).astype(float)).variables == (None,)
    repeated = verdict(lambda x: (jnp.sum(jnp.stack([x[0], -x[0]])) == 0).astype(float) + jnp.where(x[0] > 0, x, x))
    assert repeated.variables == (None,)


def test_what_moves_a_jump_is_named():
    def moving(c, w):
        closed = jax.make_jaxpr(lambda z: w * jnp.where(z > c, 1.0, 0.0))(X)
        places = {place for place, _ in judge(closed, [Variable()]).moving}
        return jnp.array(
            [float(any(value is consts for place in places for value in [closed.consts[place]])) for consts in (c, w)]
        )

    found = jax.jit(moving)(jnp.float32(0.3), jnp.float32(2.0))
    assert found.tolist() == [1.0, 0.0]


def test_draws_inside_a_program_have_verdicts_of_their_own():
    def program(x):
        def step(total, noise):
            a, b = source(noise + total, "a"), source(noise, "b")
            return total + jnp.where(b > 0, 1.0, 0.0) + jnp.tanh(a), a

        return jax.lax.scan(step, 0.0, x)

    # Only the total depends on what jumps, and every a after the first on the total.
    assert set(judge(jax.make_jaxpr(program)(X), [None]).sources) == {"b"}
    smooth = judge(
        jax.make_jaxpr(lambda x: jax.lax.scan(lambda t, n: (t + source(n, "a") ** 2, None), 0.0, x)[0])(X), [None]
    )
    assert smooth.sources == {}


@pytest.mark.parametrize(
    "f",
    [
        lambda x: jax.lax.stop_gradient(x) * x,
        lambda x: jnp.exp(x - jax.lax.stop_gradient(x)),
        lambda x: x - jax.lax.stop_gradient(jnp.mean(x)),
        lambda x: jnp.sum(jnp.exp(x - jax.lax.stop_gradient(x))),
        lambda x: jax.lax.scan(lambda c, y: (c + jax.lax.stop_gradient(y) * y, None), 0.0, x)[0],
        lambda x: jnp.where(W > 0, x, jax.lax.stop_gradient(x)),
        lambda x: x + (lambda fixed: fixed - fixed[::-1])(jax.lax.stop_gradient(x)),
        lambda x: x[1:] + (lambda fixed: fixed[1:] - fixed[:-1])(jax.lax.stop_gradient(x)),
        lambda x: x + (lambda fixed: jnp.tril(fixed[:, None] - fixed[None, :]))(jax.lax.stop_gradient(x)),
        lambda x: x + (lambda fixed: jnp.tril(fixed - fixed.T))(jax.lax.stop_gradient(jnp.outer(x, W))),
    ],
)
def test_lost_derivatives_are_seen(f):
    assert verdict(f).held_back == (True,)


W = jnp.array([1.0, -1.0, 1.0])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: jnp.log(jnp.sum(jnp.exp(x - jax.lax.stop_gradient(x.max())))) + jax.lax.stop_gradient(x.max()),
        lambda x: jax.nn.softmax(jnp.outer(x, x), axis=1) @ x,
        lambda x: x + jax.lax.stop_gradient(W),
        lambda x: jax.lax.scan(lambda c, y: (c + jax.nn.logsumexp(x * y), None), 0.0, x)[0],
        lambda x: jax.nn.logsumexp(jnp.outer(x, x), axis=0) @ x,
        lambda x: jax.nn.log_softmax(jnp.einsum("i,j,k->ijk", x, x, W), axis=1).sum(),
    ],
)
def test_stopped_values_that_cancel_lose_nothing(f):
    assert verdict(f).held_back == (False,)
