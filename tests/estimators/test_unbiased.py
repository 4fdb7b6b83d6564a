"""Every estimator on every distribution it is valid for: value, gradient and Hessian in standard errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reparax as rx
from reparax.errors import InvalidEstimator
from reparax.estimators import RELAX, AbstractEstimator, LearnedBaseline, LinearCombination
from reparax.estimators._plan import all_named
from reparax.estimators.pathwise import Pathwise
from reparax.estimators.score_function import LeaveOneOut

from ..monte_carlo import many, z_score
from .problems import PROBLEMS

INSTANCES: dict[str, AbstractEstimator] = {
    **all_named(),
    "learned-baseline": LearnedBaseline(1.0),
    "relax": RELAX(lambda *logits: sum(jnp.sum(jnp.tanh(z)) for z in logits)),
    "relax-of-f": RELAX(lambda *logits: sum(jnp.sum(jnp.tanh(z)) for z in logits), temperature=0.5),
    "linear-combination": LinearCombination((Pathwise(), LeaveOneOut())),
}
UNBIASED = [
    (name, problem)
    for name, part in INSTANCES.items()
    for problem, (make, _, _, theta) in PROBLEMS.items()
    # What takes f apart into terms has tests of its own: few of these functions are sums of terms.
    if part.unbiased and part.level != "term by term" and part.refusal(make(theta)) is None
]
# One or two problems per estimator in the quick run; all of them in the full one.
QUICK = {
    "antithetic": ("multivariate normal",), "arm": ("bernoulli",), "arsm": ("categorical", "one-hot"),
    "boundary": ("laplace",),
    "arms": ("bernoulli",), "disarm": ("bernoulli",), "enumeration": ("categorical",),
    "latin-hypercube": ("log-normal",),
    "learned-baseline": ("poisson",), "leave-one-out": ("truncated normal", "one-hot"),
    "linear-combination": ("normal",), "mean-baseline": ("poisson",),
    "measure-valued": ("normal", "poisson", "exponential", "gamma", "bernoulli"), "optimal-baseline": ("laplace",),
    "mixture-index-score": ("mixture",),
    "pathwise": ("uniform", "mixture"), "rao-blackwellized-mixture": ("mixture",), "rebar": ("bernoulli", "one-hot"),
    "relax": ("bernoulli",), "relax-of-f": ("bernoulli", "one-hot"),
    "score-function": ("gamma",), "sobol": ("normal", "truncated normal"),
    "sum-and-sample": ("categorical",),
}  # fmt: skip


def check(name, problem, repeats, with_hessian):
    make, f, exact, theta = PROBLEMS[problem]

    def loss(t, key):
        return rx.expectation(f, make(t), key=key, num_samples=4, estimator=INSTANCES[name])

    values, gradients = many(lambda key: jax.value_and_grad(loss)(theta, key), repeats)
    assert z_score(values, exact(theta)) < 5
    assert z_score(gradients, jax.grad(exact)(theta)) < 5
    if with_hessian and problem == "laplace" and INSTANCES[name].level == "score":
        with pytest.raises(InvalidEstimator, match="kink"):
            jax.hessian(loss)(theta, jax.random.key(0))
    elif with_hessian:
        hessians = many(lambda key: jax.hessian(loss)(theta, key), repeats)
        assert z_score(hessians, jax.hessian(exact)(theta)) < 5


@pytest.mark.parametrize(("name", "problem"), [(n, p) for n, p in UNBIASED if p in QUICK.get(n, ())])
def test_unbiased(name, problem):
    check(name, problem, 4000, with_hessian=False)


@pytest.mark.parametrize(("name", "problem"), [("disarm", "bernoulli"), ("arms", "bernoulli")])
def test_unbiased_to_second_order(name, problem):
    check(name, problem, 20000, with_hessian=True)


def test_second_derivatives_of_a_score_with_a_kink_are_refused():
    check("leave-one-out", "laplace", 4000, with_hessian=True)


@pytest.mark.full
@pytest.mark.parametrize(("name", "problem"), UNBIASED)
def test_unbiased_full(name, problem):
    check(name, problem, 100000, with_hessian=True)


def test_every_unbiased_estimator_is_in_the_quick_run():
    assert set(QUICK) == {name for name, _ in UNBIASED}
    assert all((name, problem) in UNBIASED for name, problems in QUICK.items() for problem in problems)


@pytest.mark.parametrize("name", [name for name, part in INSTANCES.items() if not part.unbiased])
def test_biased_estimators_say_so_and_are_biased(name):
    """Their bias on a problem of three bits is many standard errors: the declaration is not idle."""
    make, _, _, theta = PROBLEMS["bernoulli"]

    def f(z):
        return jnp.exp(jnp.sum(z * jnp.array([1.0, 1.0, -0.5])))

    def loss(t, key, estimator):
        return rx.expectation(f, make(t), key=key, num_samples=4, estimator=estimator)

    exact = jax.grad(lambda t: rx.expectation(lambda z: f(z.astype(float)), make(t), key=jax.random.key(0)))(theta)
    assert z_score(many(lambda k: jax.grad(loss)(theta, k, name), 20000), exact) > 8
    assert "NO" in str(rx.explain(make(theta), name))


def test_reinmax_is_exact_for_a_quadratic_of_one_bit():
    import numpyro.distributions as dist

    def loss(t, key):
        return rx.expectation(lambda z: (z - 0.3) ** 2, dist.Bernoulli(logits=t), key=key, estimator="reinmax")

    p = jax.nn.sigmoid(jnp.float32(0.4))
    assert z_score(many(lambda k: jax.grad(loss)(jnp.float32(0.4), k), 20000), p * (1 - p) * 0.4) < 5


@pytest.mark.full
def test_designed_noise_beats_independent_noise():
    make, f, _, theta = PROBLEMS["normal"]

    def variance(name):
        def loss(t, key):
            return rx.expectation(f, make(t), key=key, num_samples=64, estimator=name)

        return np.var(np.asarray(many(lambda k: jax.grad(loss)(theta, k), 1000)), axis=0)

    independent = variance("pathwise")
    assert np.all(variance("sobol") < 0.3 * independent)
    assert np.all(variance("latin-hypercube") < 0.7 * independent)
    assert np.all(variance("antithetic")[:2] < 1e-6 * independent[:2])
