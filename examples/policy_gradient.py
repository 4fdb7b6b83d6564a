"""A policy gradient in twenty lines: a finite decision process, with the exact gradient and the best policy beside it.

Each step draws an action and a next state. A reward is weighed by the draws upstream of it alone, which is the
reward-to-go without being told, and its baseline is the mean of the other episodes at the same step.
"""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import optax

import reparax as rx

STATES, ACTIONS, STEPS = 5, 3, 50
MOVES = jax.random.dirichlet(jax.random.key(1), 0.3 * jnp.ones(STATES), (STATES, ACTIONS))
REWARD = jax.random.normal(jax.random.key(2), (STATES, ACTIONS))


def episode(logits: jax.Array) -> Callable[..., jax.Array]:
    """One episode under a policy, as a program."""

    def program(key, upstream):
        def step(carry, key):
            state, upstream = carry
            act, move = jax.random.split(key)
            action, upstream = rx.draw(dist.Categorical(logits=logits[state]), upstream, key=act)
            reward = rx.cost(REWARD[state, action], upstream)
            state, upstream = rx.draw(dist.Categorical(probs=MOVES[state, action]), upstream, key=move)
            return (state, upstream), reward

        _, rewards = jax.lax.scan(step, (0, upstream), jax.random.split(key, STEPS))
        return jnp.sum(rewards)

    return program


def expected_return(logits: jax.Array, key: jax.Array, episodes: int = 16) -> jax.Array:
    """An estimate of the expected sum of rewards, with an unbiased gradient."""
    return rx.simulate(episode(logits), key=key, num_samples=episodes)


def by_dynamic_programming(choose: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """The exact expected return, where ``choose`` makes the value of a state from the values of its actions."""

    def back(value, _):
        return choose(REWARD + jnp.einsum("sat,t->sa", MOVES, value)), None

    return jax.lax.scan(back, jnp.zeros(STATES), None, length=STEPS)[0][0]


def exact_return(logits: jax.Array) -> jax.Array:
    """The expected return of a policy."""
    return by_dynamic_programming(lambda values: jnp.sum(jax.nn.softmax(logits) * values, axis=1))


def train(iterations: int) -> jax.Array:
    """The logits after Adam's ascent."""
    optimizer = optax.adam(0.05)

    def update(carry, key):
        logits, state = carry
        gradient = jax.grad(expected_return)(logits, key)
        updates, state = optimizer.update(-gradient, state)
        return (optax.apply_updates(logits, updates), state), None

    start = jnp.zeros((STATES, ACTIONS))
    keys = jax.random.split(jax.random.key(3), iterations)
    return jax.jit(lambda: jax.lax.scan(update, (start, optimizer.init(start)), keys))()[0][0]


def main(size: int = 400) -> dict[str, float]:
    start = jnp.zeros((STATES, ACTIONS))
    print(rx.programs.explain(episode(start), key=jax.random.key(0)), "\n")

    keys = jax.random.split(jax.random.key(4), 20 * size)
    draws = jax.jit(lambda: jax.lax.map(lambda key: jax.grad(expected_return)(start, key), keys, batch_size=100))()
    error = jnp.std(draws, axis=0) / jnp.sqrt(len(keys))
    z = jnp.max(jnp.abs(jnp.mean(draws, axis=0) - jax.grad(exact_return)(start)) / error)
    print(f"the gradient is {z:.1f} standard errors from the exact one (the largest of {start.size} entries)")

    found = {
        "z": float(z),
        "uniform": float(exact_return(start)),
        "trained": float(exact_return(train(size))),
        "best": float(by_dynamic_programming(lambda values: jnp.max(values, axis=1))),
    }
    print(f"expected return: {found['uniform']:.2f} at the start, {found['trained']:.2f} after {size} steps")
    print(f"the best policy of all has {found['best']:.2f}")
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
