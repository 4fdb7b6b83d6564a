"""Draws inside of programs beside code written by hand: time, variance and compilation on a decision process; one run.

The process is finite (5 states, 3 actions, 50 steps, 16 episodes), so that its gradient is known by dynamic
programming. Each gradient is timed in turn with the others, several times, and the least times are compared: only
ratios mean anything.
"""

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import reparax as rx

STATES, ACTIONS = 5, 3
MOVES = jax.random.dirichlet(jax.random.key(1), jnp.ones(STATES), (STATES, ACTIONS))
REWARD = jax.random.normal(jax.random.key(2), (STATES, ACTIONS))
LOGITS = jax.random.normal(jax.random.key(3), (STATES, ACTIONS))
Loss = Callable[[jax.Array, jax.Array], jax.Array]


def exact(logits: jax.Array, steps: int) -> jax.Array:
    """The expected sum of rewards, by dynamic programming."""
    policy = jax.nn.softmax(logits)

    def back(value: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jnp.sum(policy * (REWARD + jnp.einsum("sat,t->sa", MOVES, value)), axis=1), None

    return jax.lax.scan(back, jnp.zeros(STATES), None, length=steps)[0][0]


def with_sites(steps: int, episodes: int) -> Loss:
    """The program as a user writes it."""

    def loss(logits: jax.Array, key: jax.Array) -> jax.Array:
        def episode(key, upstream):
            def step(carry, key):
                state, upstream = carry
                act, move = jax.random.split(key)
                action, upstream = rx.draw(dist.Categorical(logits=logits[state]), upstream, key=act)
                reward = rx.cost(REWARD[state, action], upstream)
                state, upstream = rx.draw(dist.Categorical(probs=MOVES[state, action]), upstream, key=move)
                return (state, upstream), reward

            _, rewards = jax.lax.scan(step, (0, upstream), jax.random.split(key, steps))
            return jnp.sum(rewards)

        return rx.simulate(episode, key=key, num_samples=episodes)

    return loss


def by_hand(steps: int, episodes: int, whole_returns: bool = False) -> Loss:
    """REINFORCE in plain jax: with reward-to-go and leave-one-out baselines, or with whole returns and neither."""

    def loss(logits: jax.Array, key: jax.Array) -> jax.Array:
        def step(state, key):
            act, move = jax.random.split(key)
            action = jax.random.categorical(act, jax.lax.stop_gradient(logits[state]))
            following = jax.random.categorical(move, jnp.log(MOVES[state, action]))
            return following, (jax.nn.log_softmax(logits[state])[action], REWARD[state, action])

        def episode(key):
            return jax.lax.scan(step, 0, jax.random.split(key, steps))[1]

        log_probs, rewards = jax.vmap(episode)(jax.random.split(key, episodes))
        if whole_returns:
            weights = jnp.broadcast_to(jnp.sum(rewards, axis=1, keepdims=True), rewards.shape)
        else:
            to_go = jnp.cumsum(rewards[:, ::-1], axis=1)[:, ::-1]
            weights = to_go - (jnp.sum(to_go, axis=0, keepdims=True) - to_go) / (episodes - 1)
        surrogate = jnp.mean(jnp.sum(log_probs * jax.lax.stop_gradient(weights), axis=1))
        return jnp.mean(jnp.sum(rewards, axis=1)) + surrogate - jax.lax.stop_gradient(surrogate)

    return loss


class Measured(NamedTuple):
    """One way to the gradient: milliseconds, total variance, the largest error in standard errors, compile seconds."""

    milliseconds: float
    variance: float
    z: float
    compile_seconds: float


def policy_gradients(steps: int = 50, episodes: int = 16, repeats: int = 1000, turns: int = 20) -> dict[str, Measured]:
    """Time and variance of the policy gradient by sites, by hand, and by the score function with whole returns."""
    ways = {
        "sites": with_sites(steps, episodes),
        "by hand": by_hand(steps, episodes),
        "whole returns": by_hand(steps, episodes, whole_returns=True),
    }
    right = jax.grad(exact)(LOGITS, steps)
    compiled, compile_seconds = {}, {}
    for name, loss in ways.items():
        start = time.perf_counter()
        compiled[name] = jax.jit(jax.grad(loss)).lower(LOGITS, jax.random.key(0)).compile()
        compile_seconds[name] = time.perf_counter() - start
    least = dict.fromkeys(ways, np.inf)
    for key in jax.random.split(jax.random.key(4), turns):
        for name, run in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(run(LOGITS, key))
            least[name] = min(least[name], time.perf_counter() - start)
    found = {}
    for name, loss in ways.items():
        keys = jax.random.split(jax.random.key(5), repeats)
        draws = np.asarray(
            jax.jit(lambda keys, loss=loss: jax.lax.map(lambda k: jax.grad(loss)(LOGITS, k), keys))(keys)
        )
        error = draws.std(axis=0) / np.sqrt(repeats)
        z = float(np.max(np.abs(draws.mean(axis=0) - right) / error))
        found[name] = Measured(1e3 * least[name], float(draws.var(axis=0).sum()), z, compile_seconds[name])
    return found


def report(repeats: int = 1000) -> None:
    """Prints the comparison, and how time grows with the number of steps."""
    found = policy_gradients(repeats=repeats)
    hand = found["by hand"]
    print(
        f"{'gradient of 50 steps':24s}{'ms':>8s}{'/hand':>8s}{'variance':>10s}{'/hand':>8s}{'z':>6s}{'compile s':>11s}"
    )
    for name, row in found.items():
        print(
            f"{name:24s}{row.milliseconds:8.3f}{row.milliseconds / hand.milliseconds:8.2f}{row.variance:10.3f}"
            f"{row.variance / hand.variance:8.2f}{row.z:6.1f}{row.compile_seconds:11.2f}"
        )
    print(f"\n{'steps by scan':24s}{'ms':>8s}{'compile s':>11s}")
    for steps in (50, 100, 200, 400):
        start = time.perf_counter()
        run = jax.jit(jax.grad(with_sites(steps, 16))).lower(LOGITS, jax.random.key(0)).compile()
        compiled, least = time.perf_counter() - start, np.inf
        for key in jax.random.split(jax.random.key(6), 20):
            start = time.perf_counter()
            jax.block_until_ready(run(LOGITS, key))
            least = min(least, time.perf_counter() - start)
        print(f"{steps:<24d}{1e3 * least:8.3f}{compiled:11.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000, help="gradients of which the variance is taken")
    report(parser.parse_args().repeats)


if __name__ == "__main__":
    main()
