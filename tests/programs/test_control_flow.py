"""Loops, branches, lanes and transformations around and inside of programs."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax import programs

from ..monte_carlo import many, z_score

TABLE = jnp.array([1.0, -2.0, 0.5])
THETA = jnp.array([0.4, -0.7, 0.9])


def check(loss, exact, theta, repeats=8000, order=1):
    """Value and forward or reverse derivatives, in standard errors."""
    values, gradients = many(lambda key: (loss(theta, key), jax.jacfwd(loss)(theta, key)), repeats)
    assert z_score(values, exact(theta)) < 5
    assert z_score(gradients, jax.grad(exact)(theta)) < 5
    if order == 2:
        assert (
            z_score(many(lambda key: jax.jacfwd(jax.jacfwd(loss))(theta, key), repeats), jax.hessian(exact)(theta)) < 5
        )


def test_a_while_loop_that_a_draw_ends():
    """A walk that ends with probability 1 - p at each step and costs its number: sum_t t p^(t-1) = 1 / (1 - p)^2."""

    def loss(theta, key):
        def program(key, upstream):
            def body(carry):
                _, upstream, key, step, total = carry
                key, own = jax.random.split(key)
                cost = rx.cost(step + 2.0, upstream)
                goes, upstream = rx.draw(dist.Bernoulli(logits=theta[0]), upstream, key=own)
                return goes, upstream, key, step + 1.0, total + cost

            start = (jnp.int32(1), upstream, key, jnp.float32(0.0), jnp.float32(0.0))
            return jax.lax.while_loop(lambda carry: carry[0] == 1, body, start)[-1]

        return rx.simulate(program, key=key, num_samples=4)

    def exact(theta):
        steps = jnp.arange(200.0)
        return jnp.sum(jax.nn.sigmoid(theta[0]) ** steps * (steps + 2.0))

    check(loss, exact, THETA, order=2)


@pytest.mark.parametrize("wait", ["cond", "where"])
def test_a_scan_that_a_draw_ends(wait):
    def loss(theta, key):
        def program(key, upstream):
            def step(carry, key):
                alive, upstream, total = carry
                goes, upstream = rx.draw(dist.Bernoulli(logits=theta[0] * TABLE[1]), upstream, key=key)
                if wait == "cond":
                    total = jax.lax.cond(
                        alive, lambda up, t: t + rx.cost(5.0 + theta[1], up), lambda up, t: t, upstream, total
                    )
                else:
                    total += rx.cost(jnp.where(alive, 5.0 + theta[1], 0.0), upstream)
                return (alive & (goes == 1), upstream, total), None

            start = (jnp.bool(True), upstream, jnp.float32(0.0))
            return jax.lax.scan(step, start, jax.random.split(key, 6))[0][-1]

        return rx.simulate(program, key=key, num_samples=4)

    def exact(theta):
        return (5.0 + theta[1]) * jnp.sum(jax.nn.sigmoid(theta[0] * TABLE[1]) ** jnp.arange(6.0))

    check(loss, exact, THETA)


def test_a_draw_in_one_branch():
    def loss(theta, key):
        def program(key, upstream):
            first, second = jax.random.split(key)
            z, upstream = rx.draw(dist.Bernoulli(logits=theta[0]), upstream, key=first, estimator="leave-one-out")

            def more(upstream):
                k, upstream = rx.draw(dist.Categorical(logits=theta), upstream, key=second)
                return TABLE[k], upstream

            value, upstream = jax.lax.cond(z == 1, more, lambda upstream: (jnp.float32(3.0), upstream), upstream)
            return rx.cost(value, upstream)

        return rx.simulate(program, key=key, num_samples=3)

    def exact(theta):
        p = jax.nn.sigmoid(theta[0])
        return p * jnp.sum(jax.nn.softmax(theta) * TABLE) + (1 - p) * 3.0

    check(loss, exact, THETA, order=2)


def test_lanes_with_costs_of_their_own_enumerate_each_its_own():
    """30 points with one assignment each and a shared mean: 3 evaluations of each point, and not 3 ** 30."""
    points = jnp.linspace(-2.0, 2.0, 30)

    def loss(theta, key):
        def program(key, upstream):
            shared, own = jax.random.split(key)
            mean, upstream = rx.draw(dist.Normal(theta[0], 0.5), upstream, key=shared)

            def lane(x, key):
                k, below = rx.draw(dist.Categorical(logits=theta * x), upstream, key=key)
                return rx.cost((x - mean * TABLE[k]) ** 2, below)

            return jnp.sum(jax.vmap(lane)(points, jax.random.split(own, 30)))

        assert [site.estimator for site in programs.explain(program, key=key).sites] == ["pathwise", "enumeration"]
        return rx.simulate(program, key=key, num_samples=2)

    def exact(theta):
        p = jax.nn.softmax(points[:, None] * theta[None], axis=-1)
        second = theta[0] ** 2 + 0.25
        terms = points[:, None] ** 2 - 2 * points[:, None] * theta[0] * TABLE[None] + second * TABLE[None] ** 2
        return jnp.sum(p * terms)

    check(loss, exact, THETA, repeats=4000)


@pytest.mark.parametrize("inside", [False, True])
def test_lanes_are_joined(inside):
    """Three lanes of two draws each, then one draw that depends on all of them, in lanes or as one vector."""

    def loss(theta, key):
        def program(key, upstream):
            before, own, after = jax.random.split(key, 3)
            k, upstream = rx.draw(dist.Categorical(logits=theta), upstream, key=before, estimator="leave-one-out")

            def lane(weight, key):
                one, two = jax.random.split(key)
                b, below = rx.draw(
                    dist.Bernoulli(logits=theta[0] * weight), upstream, key=one, estimator="score-function"
                )
                c, below = rx.draw(
                    dist.Bernoulli(logits=theta[1] * b.astype(float)), below, key=two, estimator="disarm"
                )
                return b + c, below

            weights = TABLE * TABLE[k]
            sums, below = jax.vmap(lane)(weights, jax.random.split(own, 3))
            upstream = rx.join(below, upstream)
            if inside:
                cost = jax.vmap(lambda table: rx.cost(table * jnp.prod(sums.astype(float) + 1.0), upstream))(TABLE)
                return jnp.sum(cost)
            d, upstream = rx.draw(
                dist.Bernoulli(logits=jnp.sum(sums.astype(float))), upstream, key=after, estimator="leave-one-out"
            )
            return rx.cost(jnp.prod(sums.astype(float) + 1.0) * (d.astype(float) + theta[2]), upstream)

        return rx.simulate(program, key=key, num_samples=4)

    def exact(theta):
        def term(k, b, c):
            p = jax.nn.sigmoid(theta[0] * TABLE * TABLE[k] * (2 * b - 1.0))
            q = jax.nn.sigmoid(theta[1] * b * (2 * c - 1.0))
            weight = jax.nn.softmax(theta)[k] * jnp.prod(p) * jnp.prod(q)
            rest = jnp.sum(TABLE) if inside else jax.nn.sigmoid(jnp.sum(b + c)) + theta[2]
            return weight * jnp.prod(b + c + 1.0) * rest

        states = np.array(list(itertools.product(range(3), *[range(2)] * 6)))
        bits = jnp.asarray(states[:, 1:], jnp.float32)
        return jnp.sum(jax.vmap(term)(jnp.asarray(states[:, 0]), bits[:, :3], bits[:, 3:]))

    check(loss, exact, THETA)


def coin_program(theta):
    def program(key, upstream):
        z, upstream = rx.draw(dist.Poisson(jnp.exp(theta)), upstream, key=key)
        return rx.cost((z.astype(float) + theta) ** 2, upstream)

    return program


def poisson_exact(theta):
    rate = jnp.exp(theta)
    return rate + rate**2 + 2 * theta * rate + theta**2


def test_a_program_in_a_program():
    def loss(theta, key):
        def program(key, upstream):
            first, second = jax.random.split(key)
            z, upstream = rx.draw(dist.Normal(theta, 0.3), upstream, key=first, estimator="leave-one-out")
            inner = rx.simulate(coin_program(0.5 * z), key=second, num_samples=2)
            return rx.cost(inner * theta, upstream)

        return rx.simulate(program, key=key, num_samples=2)

    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    nodes, weights = jnp.asarray(nodes, jnp.float32), jnp.asarray(weights / np.sqrt(2 * np.pi), jnp.float32)

    def exact(theta):
        return theta * jnp.sum(weights * poisson_exact(0.5 * (theta + 0.3 * nodes)))

    check(loss, exact, jnp.float32(0.4), repeats=8000)


def test_a_program_in_an_expectation():
    def loss(theta, key):
        def f(z, *, key):
            return rx.simulate(coin_program(theta * (z.astype(float) + 1.0)), key=key)

        return rx.expectation(f, dist.Bernoulli(logits=theta), key=key)

    def exact(theta):
        p = jax.nn.sigmoid(theta)
        return p * poisson_exact(2 * theta) + (1 - p) * poisson_exact(theta)

    check(loss, exact, jnp.float32(0.4))


def test_transformations_around_a_program():
    def loss(theta, key):
        def program(key, upstream):
            z, upstream = rx.draw(dist.Categorical(logits=theta * TABLE), upstream, key=key, estimator="leave-one-out")
            return rx.cost(TABLE[z] * theta, upstream)

        return rx.simulate(program, key=key, num_samples=3)

    keys, thetas = jax.random.split(jax.random.key(0)), jnp.array([0.1, 0.7])
    expected = [jax.grad(loss)(theta, key) for theta, key in zip(thetas, keys, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(loss)))(thetas, keys), expected, rtol=1e-4)
    np.testing.assert_allclose(
        jax.lax.map(lambda pair: jax.grad(jax.checkpoint(loss))(*pair), (thetas, keys)), expected, rtol=1e-4
    )
    np.testing.assert_allclose(jax.jacfwd(jax.jit(loss))(thetas[0], keys[0]), expected[0], rtol=1e-4)


def test_checkpoint_and_jit_inside_a_program():
    def loss(theta, key, wrap):
        def program(key, upstream):
            @wrap
            def step(upstream, key):
                z, upstream = rx.draw(dist.Categorical(logits=theta), upstream, key=key)
                return upstream, rx.cost(TABLE[z] * theta[0], upstream)

            return jnp.sum(jax.lax.scan(step, upstream, jax.random.split(key, 5))[1])

        return rx.simulate(program, key=key, num_samples=3)

    plain = jax.grad(loss)(THETA, jax.random.key(1), lambda f: f)
    for wrap in (jax.checkpoint, jax.jit):
        np.testing.assert_allclose(jax.grad(loss)(THETA, jax.random.key(1), wrap), plain, rtol=1e-4, atol=1e-6)


def step_of_a_module(carry, key):
    """Known to jax's caches by itself, with no closure of its own."""
    total, upstream = carry
    z, upstream = rx.draw(dist.Normal(total, 1.0), upstream, key=key, name="step")
    return (total + z, upstream), rx.cost(total + z, upstream)


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_caches_do_not_mix_programs(num_samples):
    def total(start):
        def program(key, upstream):
            return jnp.sum(jax.lax.scan(step_of_a_module, (start, upstream), jax.random.split(key, 3))[1])

        return rx.simulate(program, key=jax.random.key(0), num_samples=num_samples)

    np.testing.assert_allclose(jax.grad(total)(jnp.float32(0.5)), 1 + 3 + 7 - 4 + 7, rtol=1e-5)


def test_pathwise_draws_need_no_cost():
    def loss(theta, key):
        def program(key, upstream):
            first, second = jax.random.split(key)
            z, upstream = rx.draw(dist.Gamma(theta, 1.0), upstream, key=first)
            y, upstream = rx.draw(dist.Normal(z, 1.0), upstream, key=second)
            return {"a": y**2, "b": [z]}

        return rx.simulate(program, key=key)

    def of(name):
        return lambda theta, key: loss(theta, key)["a"] if name == "a" else loss(theta, key)["b"][0]

    check(of("a"), lambda theta: theta + theta**2 + 1, jnp.float32(1.3))
    check(of("b"), lambda theta: theta, jnp.float32(1.3))


def test_one_copy_has_no_baseline_and_its_own_may_be_given():
    def loss(theta, key, **options):
        def program(key, upstream):
            z, upstream = rx.draw(dist.Poisson(jnp.exp(theta)), upstream, key=key)
            return rx.cost((z.astype(float) + theta) ** 2, upstream, **options)

        return rx.simulate(program, key=key, num_samples=1)

    theta, variances = jnp.float32(0.4), []
    for options in ({}, {"baseline": None}, {"baseline": 6.0}):
        draws = many(lambda key, options=options: jax.grad(loss)(theta, key, **options), 20000)
        assert z_score(draws, jax.grad(poisson_exact)(theta)) < 5
        variances.append(np.var(draws))
    assert variances[0] == variances[1] > 1.2 * variances[2]


def test_the_plan_is_a_table():
    def program(key, upstream):
        first, second = jax.random.split(key)
        x, upstream = rx.draw(dist.Normal(0.0, 1.0), upstream, key=first, name="noise")

        def step(upstream, key):
            z, upstream = rx.draw(dist.Categorical(logits=THETA), upstream, key=key, name="steps")
            return upstream, rx.cost(TABLE[z] * x, upstream, name="reward")

        return jnp.sum(jax.lax.scan(step, upstream, jax.random.split(second, 5))[1])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = str(programs.explain(program, key=jax.random.key(0)))
    assert "noise" in text
    assert "pathwise" in text
    assert "leave-one-out" in text
    assert "reward" in text


def test_a_loop_in_a_loop():
    """A chain of six draws in two nested scans, against dynamic programming."""

    def loss(theta, key):
        def program(key, upstream):
            def inner(carry, key):
                z, upstream = carry
                q = dist.Categorical(logits=theta * TABLE[z])
                z, upstream = rx.draw(q, upstream, key=key)
                return (z, upstream), rx.cost(TABLE[z], upstream)

            def outer(carry, key):
                carry, costs = jax.lax.scan(inner, carry, jax.random.split(key, 2))
                return carry, jnp.sum(costs)

            return jnp.sum(jax.lax.scan(outer, (0, upstream), jax.random.split(key, 3))[1])

        return rx.simulate(program, key=key, num_samples=4)

    def exact(theta):
        moves = jax.nn.softmax(TABLE[:, None] * theta[None], axis=1)
        value = jnp.zeros(3)
        for _ in range(6):
            value = moves @ (TABLE + value)
        return value[0]

    check(loss, exact, THETA)


def costs_of_a_scan(key, upstream):
    def step(upstream, key):
        z, upstream = rx.draw(dist.Poisson(2.0), upstream, key=key)
        return upstream, rx.cost(z, upstream)

    return jax.lax.scan(step, upstream, jax.random.split(key, 4))[1]


WEIGHTS = 0.9 ** jnp.arange(4.0)
LINEAR = {
    "dot": lambda costs: costs @ WEIGHTS,
    "einsum": lambda costs: jnp.einsum("t,t->", costs, WEIGHTS),
    "average": lambda costs: jnp.average(costs, weights=WEIGHTS),
    "mean": jnp.mean,
    "index": lambda costs: costs[-1] - costs[0] / 2,
    "cumsum": lambda costs: jnp.cumsum(costs[::-1])[::-1],
    "stack": lambda costs: jnp.stack([costs, 2 * costs]),
    "concatenate": lambda costs: jnp.concatenate([costs, jnp.zeros(2)]),
    "at": lambda costs: jnp.zeros(6).at[:4].add(costs),
    "reshape": lambda costs: costs.reshape(2, 2).sum(axis=0) @ jnp.ones((2, 3)),
    "where": lambda costs: jnp.where(jnp.arange(4) > 2, costs, 0.0),
    "take": lambda costs: jnp.take(jnp.roll(costs, 1), jnp.array([0, 1])),
    "pad": lambda costs: jnp.pad(costs, 2),
    "tensordot": lambda costs: {"a": jnp.tensordot(costs, WEIGHTS, 1), "b": -costs},
    "matrix": lambda costs: jnp.diff(costs) @ jnp.ones((3, 2)),
    "loop": lambda costs: jax.lax.fori_loop(0, 4, lambda t, total: 0.9 * total + costs[t], 0.0),
    "stopped": lambda costs: costs + jax.lax.stop_gradient(costs),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_functions_of_costs_are_accepted(name):
    plan = programs.explain(lambda key, up: LINEAR[name](costs_of_a_scan(key, up)), key=jax.random.key(0))
    assert [baseline for _, baseline in plan.costs] == ["the other copies, for scored draws"]


def test_the_branches_of_a_switch_may_use_one_key():
    def program(key, upstream):
        z, upstream = rx.draw(dist.Poisson(2.0), upstream, key=key)
        other = jax.random.fold_in(key, 1)

        def branch(rate):
            return lambda upstream: rx.draw(dist.Poisson(rate), upstream, key=other, name=f"rate {rate}")

        y, upstream = jax.lax.switch(z, [branch(1.0), branch(2.0), lambda upstream: (0, upstream)], upstream)
        return rx.cost(y, upstream)

    assert len(programs.explain(program, key=jax.random.key(0)).sites) == 3
