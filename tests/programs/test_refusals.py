"""Programs that would be differentiated wrongly are refused, and say why."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax.errors import InvalidEstimator

KEY = jax.random.key(0)
TABLE = jnp.array([1.0, -2.0, 0.5])


def coin(upstream, key, estimator="leave-one-out", logits=None):
    logits = jnp.array([0.1, -0.3, 0.4]) if logits is None else logits
    return rx.draw(dist.Categorical(logits=logits), upstream, key=key, estimator=estimator)


def no_cost(key, upstream):
    z, _ = coin(upstream, key)
    return TABLE[z]


def old_upstream(key, upstream):
    z, _ = coin(upstream, key)
    return rx.cost(TABLE[z], upstream)


def not_carried(key, upstream):
    def step(z, key):
        z, below = coin(upstream, key, logits=TABLE * TABLE[z])
        return z, rx.cost(TABLE[z], below)

    return jnp.sum(jax.lax.scan(step, 0, jax.random.split(key, 3))[1])


def carried_by_halves(key, upstream):
    def step(carry, key):
        z, upstream = carry
        first, second = jax.random.split(key)
        z, after = coin(upstream, first, logits=TABLE * TABLE[z])
        y, below = coin(after, second)
        return (z + y, after), rx.cost(TABLE[z % 3] + TABLE[y], below)

    return jnp.sum(jax.lax.scan(step, (0, upstream), jax.random.split(key, 3))[1])


def of_an_inner_loop(key, upstream):
    def outer(carry, key):
        z, upstream = carry

        def inner(carry, key):
            z, upstream = carry
            return coin(upstream, key, logits=TABLE * TABLE[z]), None

        (z, _), _ = jax.lax.scan(inner, (z, upstream), jax.random.split(key, 2))
        return (z, upstream), rx.cost(TABLE[z], upstream)

    return jnp.sum(jax.lax.scan(outer, (0, upstream), jax.random.split(key, 3))[1])


def outer_pass_forgotten(key, upstream):
    def outer(z, key):
        def inner(carry, key):
            z, upstream = carry
            return coin(upstream, key, logits=TABLE * TABLE[z]), None

        (z, below), _ = jax.lax.scan(inner, (z, upstream), jax.random.split(key, 2))
        return z, rx.cost(TABLE[z], below)

    return jnp.sum(jax.lax.scan(outer, 0, jax.random.split(key, 3))[1])


def stopped_upstream(key, upstream):
    z, upstream = coin(upstream, key)
    return rx.cost(TABLE[z], jax.tree.map(jax.lax.stop_gradient, upstream))


def one_branch_forgotten(key, upstream):
    z, upstream = coin(upstream, key)
    first, second = jax.random.split(key)
    y = jax.lax.cond(z > 0, lambda up: coin(up, first)[0], lambda up: coin(up, second)[0], upstream)
    return rx.cost(TABLE[y], upstream)


def select_between_upstreams(key, upstream):
    z, below = coin(upstream, key)
    mixed = jax.tree.map(lambda a, b: jnp.where(TABLE[0] > 3, a, b), below, upstream)
    return rx.cost(TABLE[z], mixed)


def helper_called_twice(key, upstream):
    first, second = jax.random.split(key)
    z, _ = coin(upstream, first)
    y, upstream = coin(upstream, second)
    return rx.cost(TABLE[z] * TABLE[y], upstream)


def tangent_of_a_cost(key, upstream):
    z, upstream = coin(upstream, key)
    return jax.grad(lambda x: rx.cost(x * TABLE[z], upstream))(2.0)


def squared_cost(key, upstream):
    z, upstream = coin(upstream, key)
    return rx.cost(TABLE[z], upstream) ** 2


def product_of_costs(key, upstream):
    z, upstream = coin(upstream, key)
    return rx.cost(TABLE[z], upstream) * rx.cost(1.0 + TABLE[z], upstream)


def cost_of_costs(key, upstream):
    z, upstream = coin(upstream, key)
    return rx.cost(jnp.sum(jnp.stack([rx.cost(TABLE[z], upstream)])), upstream)


def drawn_from_a_cost(key, upstream):
    first, second = jax.random.split(key)
    z, upstream = coin(upstream, first)
    y, upstream = coin(upstream, second, logits=TABLE * rx.cost(TABLE[z], upstream))
    return rx.cost(TABLE[y], upstream)


def later_draw_selects(key, upstream):
    first, second = jax.random.split(key)
    z, upstream = coin(upstream, first)
    cost = rx.cost(TABLE[z], upstream)
    y, upstream = coin(upstream, second)
    return jnp.where(y > 0, cost, 0.0)


def later_draw_scales(key, upstream):
    first, second = jax.random.split(key)
    z, upstream = coin(upstream, first)
    cost = rx.cost(TABLE[z], upstream)
    y, upstream = coin(upstream, second)
    return cost * TABLE[y]


def constant_branch(key, upstream):
    z, upstream = coin(upstream, key)
    return jax.lax.cond(z > 0, lambda: rx.cost(TABLE[z], upstream), lambda: jnp.float32(1.0))


def number_of_passes(key, upstream):
    def body(carry):
        z, upstream, key, steps = carry
        key, own = jax.random.split(key)
        z, upstream = coin(upstream, own)
        return z, upstream, key, steps + 1.0

    return jax.lax.while_loop(lambda carry: carry[0] > 0, body, (1, upstream, key, 0.0))[-1]


def decaying_total(key, upstream):
    """Later draws decide how often an earlier cost is scaled."""

    def body(carry):
        z, upstream, key, total = carry
        key, own = jax.random.split(key)
        z, upstream = coin(upstream, own)
        return z, upstream, key, 0.5 * total + rx.cost(TABLE[z], upstream)

    return jax.lax.while_loop(lambda carry: carry[0] > 0, body, (1, upstream, key, 0.0))[-1]


def baseline_of_a_draw(key, upstream):
    first, second = jax.random.split(key)
    z, upstream = coin(upstream, first)
    y, upstream = coin(upstream, second)
    return rx.cost(TABLE[y], upstream, baseline=TABLE[z])


def baseline_of_a_cost_that_may_not_count(key, upstream):
    z, upstream = coin(upstream, key)
    return jax.lax.cond(z > 0, lambda: rx.cost(TABLE[z], upstream, baseline=TABLE[0]), lambda: 0.0)


def key_of_its_own(key, upstream):
    z, upstream = coin(upstream, KEY)
    return rx.cost(TABLE[z], upstream)


def key_used_twice(key, upstream):
    z, upstream = coin(upstream, key)
    y, upstream = coin(upstream, key)
    return rx.cost(TABLE[z] * TABLE[y], upstream)


def key_of_every_pass(key, upstream):
    def step(upstream, _):
        z, upstream = coin(upstream, key)
        return upstream, rx.cost(TABLE[z], upstream)

    return jnp.sum(jax.lax.scan(step, upstream, None, length=3)[1])


def key_of_all_lanes(key, upstream):
    def lane(weight):
        z, below = coin(upstream, key, logits=TABLE * weight)
        return rx.cost(TABLE[z], below)

    return jnp.sum(jax.vmap(lane)(TABLE))


def lane_taken_for_all(key, upstream):
    z, below = jax.vmap(coin, (None, 0))(upstream, jax.random.split(key, 3))
    first = jax.tree.map(lambda leaf: leaf[0], below)
    return rx.cost(jnp.prod(TABLE[z]), first)


def lanes_not_joined(key, upstream):
    z, below = jax.vmap(coin, (None, 0))(upstream, jax.random.split(key, 3))
    return rx.cost(jnp.prod(TABLE[z]), below)


def agents_that_mix(key, upstream):
    """A lane's second cost depends on the first draws of all lanes, its upstream holds its own alone."""
    z, below = jax.vmap(coin, (None, 0))(upstream, jax.random.split(key, 3))
    mean = jnp.mean(TABLE[z])
    return jnp.sum(jax.vmap(lambda k, up: rx.cost(TABLE[k] * mean, up))(z, below))


def agents_that_mix_in_a_loop(key, upstream):
    def step(carry, key):
        mean, upstreams = carry

        def agent(upstream, key):
            z, upstream = coin(upstream, key, logits=TABLE * mean)
            return TABLE[z], upstream, rx.cost(TABLE[z] * mean, upstream)

        values, upstreams, costs = jax.vmap(agent)(upstreams, jax.random.split(key, 3))
        return (jnp.mean(values), upstreams), jnp.sum(costs)

    start = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (3,)), upstream)
    return jnp.sum(jax.lax.scan(step, (jnp.float32(1.0), start), jax.random.split(key, 4))[1])


def joined_with_another(key, upstream):
    first, second = jax.random.split(key)
    y, between = coin(upstream, first)
    z, below = jax.vmap(coin, (None, 0))(between, jax.random.split(second, 3))
    return rx.cost(TABLE[y] * jnp.prod(TABLE[z]), rx.join(below, upstream))


def enumerated_in_lanes_and_joined(key, upstream):
    def lane(key):
        return coin(upstream, key, "enumeration")

    z, below = jax.vmap(lane)(jax.random.split(key, 3))
    return rx.cost(jnp.prod(TABLE[z]), rx.join(below, upstream))


def enumerated_in_a_loop(key, upstream):
    def step(upstream, key):
        z, upstream = coin(upstream, key, "enumeration")
        return upstream, rx.cost(TABLE[z], upstream)

    return jnp.sum(jax.lax.scan(step, upstream, jax.random.split(key, 3))[1])


def enumerated_twice_under_one_name(key, upstream):
    first, second = jax.random.split(key)
    z, upstream = coin(upstream, first, "enumeration")
    y, upstream = coin(upstream, second, "enumeration")
    return rx.cost(TABLE[z] * TABLE[y], upstream)


def enumerated_beyond_the_bound(key, upstream):
    z, upstream = rx.draw(dist.Categorical(logits=jnp.zeros(65)), upstream, key=key, estimator="enumeration")
    return rx.cost(z.astype(float), upstream)


def pairs_of_categories(key, upstream):
    z, upstream = coin(upstream, key, "disarm")
    return rx.cost(TABLE[z], upstream)


def pathwise_categories(key, upstream):
    z, upstream = coin(upstream, key, "pathwise")
    return rx.cost(TABLE[z], upstream)


def unknown_estimator(key, upstream):
    z, upstream = coin(upstream, key, "rebar")
    return rx.cost(TABLE[z], upstream)


def no_upstream(key, upstream):
    z, upstream = coin(None, key)
    return rx.cost(TABLE[z], upstream)


def another_programs_upstream(key, upstream):
    def inner(key, own):
        z, below = coin(upstream, key)
        return rx.cost(TABLE[z], below)

    return rx.cost(rx.simulate(inner, key=key), upstream)


def support_moves(key, upstream):
    z, upstream = rx.draw(dist.Uniform(0.0, TABLE[0]), upstream, key=key, estimator="leave-one-out")
    return rx.cost(z, upstream)


def two_kinds_under_one_name(key, upstream):
    first, second = jax.random.split(key)
    z, upstream = rx.draw(dist.Normal(0.0, 1.0), upstream, key=first, name="z")
    y, upstream = rx.draw(dist.Poisson(1.0), upstream, key=second, name="z")
    return rx.cost(z + y.astype(float), upstream)


def masked(key, upstream):
    q = dist.Normal(jnp.zeros(3), 1.0).mask(TABLE > 0)
    z, upstream = rx.draw(q, upstream, key=key)
    return rx.cost(jnp.sum(z), upstream)


REFUSED = {
    no_cost: "only through rx.cost",
    old_upstream: "depends in its upstream",
    not_carried: "earlier pass",
    carried_by_halves: "earlier pass",
    of_an_inner_loop: "depends in its upstream",
    outer_pass_forgotten: "earlier pass",
    stopped_upstream: "that rx.draw returned",
    one_branch_forgotten: "depends in its upstream",
    select_between_upstreams: "depends in its upstream",
    helper_called_twice: "depends in its upstream",
    tangent_of_a_cost: "only through rx.cost",
    squared_cost: "not linear",
    product_of_costs: "not linear",
    cost_of_costs: "weighted twice",
    drawn_from_a_cost: "depends on the cost",
    later_draw_selects: "only through rx.cost",
    later_draw_scales: "only through rx.cost",
    constant_branch: "only through rx.cost",
    number_of_passes: "only through rx.cost",
    decaying_total: "only through rx.cost",
    baseline_of_a_draw: "not to depend on any draw",
    baseline_of_a_cost_that_may_not_count: "to count for all draws alike",
    key_of_its_own: "not come from the program's key",
    key_used_twice: "also uses",
    key_of_every_pass: "same in every pass",
    key_of_all_lanes: "lanes of a vmap share",
    lane_taken_for_all: "join its lanes",
    lanes_not_joined: "join its lanes",
    agents_that_mix: "join its lanes",
    agents_that_mix_in_a_loop: "join its lanes",
    joined_with_another: "went into every lane",
    enumerated_in_lanes_and_joined: "depends in its upstream",
    enumerated_in_a_loop: "in a loop",
    enumerated_twice_under_one_name: "several draws have this name",
    enumerated_beyond_the_bound: "max_enumerated",
    pairs_of_categories: "not a Bernoulli",
    pathwise_categories: "use one of: leave-one-out, enumeration",
    unknown_estimator: "a draw inside a program can have",
    no_upstream: "that rx.simulate gave",
    another_programs_upstream: "taken from another program",
    support_moves: "the support depends on",
    two_kinds_under_one_name: "of one kind",
    masked: "mask",
}


@pytest.mark.parametrize("program", REFUSED, ids=lambda program: program.__name__)
def test_it_is_refused_and_says_why(program):
    with pytest.raises(InvalidEstimator, match=REFUSED[program]):
        rx.simulate(program, key=jax.random.key(1), num_samples=2)


def hard(key, upstream, estimator="auto"):
    z, upstream = rx.draw(dist.Normal(0.0, 1.0), upstream, key=key, estimator=estimator, name="z")
    return rx.cost(jnp.where(z > 0, 1.0, 0.0), upstream)


def test_where_the_program_jumps_auto_takes_the_score_and_says_so(monkeypatch):
    monkeypatch.setattr("reparax.programs._simulate.names_that_jump", lambda program: {"z": "a comparison"})
    with pytest.warns(UserWarning, match="a comparison"):
        rx.simulate(hard, key=KEY)
    with pytest.raises(InvalidEstimator, match="a comparison"):
        rx.simulate(lambda key, upstream: hard(key, upstream, "pathwise"), key=KEY)
