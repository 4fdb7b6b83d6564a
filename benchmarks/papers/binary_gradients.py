"""Variances of gradients through bits: REINFORCE, leave-one-out, ARM, DisARM, REBAR, RELAX and VIMCO.

Dong, Mnih & Tucker (2020), "DisARM", sections 3 and 5; Tucker et al. (2017), "REBAR"; Grathwohl et al. (2018), "RELAX";
Mnih & Rezende (2016), "VIMCO". The papers show variances as curves, so the published column has closed forms where they
exist, and the orderings below the table are what the papers claim.

Protocol: the toy is the derivative of E[(b - 0.45)^2] in the logit of one bit; each variance is that of 200,000
gradients, each with the fewest draws that the estimator can take: one, a pair, or the four of REBAR; RELAX with one and
with four. Both are adapted (`reparax.estimators.adapt`) before they are measured; the control variate of RELAX is the
relaxed f and a network, and starts as that of the adapted REBAR, with a network of 0. The autoencoder has 20 bits and
is fitted to scikit-learn's digits, black or white, for 60 epochs; variances are of the gradient of E log p(x | z) in
the logits of 20 held-out images (the KL is exact), summed over the bits and averaged over the images, from 2,000
gradients each. REBAR and RELAX are adapted to the first of these images, for which they are shown too: what the network
learns of it need not help with the others. VIMCO and the score function beside it have the importance-weighted bound
with K = 5.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from record import Record, Row, by_seed, finish, parser

import reparax as rx
from reparax.estimators import REBAR, RELAX, adapt

TARGET = 0.45
NAMES = ("score-function", "leave-one-out", "arm", "disarm", "enumeration")
PROBABILITIES = (0.1, 0.3, 0.5)
SHOWN = 20
DRAWS = 4
"""The fewest of REBAR."""
COUNTS = {"one draw": 1, "four draws": DRAWS}
FIRST = "the image adapted to, "


class Control(eqx.Module):
    """The control variate of RELAX."""

    layers: eqx.nn.MLP

    @classmethod
    def of(cls, bits: int) -> "Control":
        made = cls(eqx.nn.MLP(bits, "scalar", 32, 1, key=jax.random.key(4)))
        last = made.layers.layers[-1]
        return eqx.tree_at(lambda made: made.layers.layers[-1].weight, made, jnp.zeros_like(last.weight))

    def __call__(self, noisy: jax.Array) -> jax.Array:
        return self.layers(jax.nn.sigmoid(2 * jnp.atleast_1d(noisy)))


def closed_forms(p: float) -> dict[str, float]:
    """The exact variances of the toy, by estimator."""
    gap, m, spread = (1 - 2 * TARGET) ** 2, min(p, 1 - p), p * (1 - p)
    return {
        "score-function": spread * ((1 - p) * (1 - TARGET) ** 2 + p * TARGET**2) ** 2,
        "leave-one-out": gap * (spread / 2 - spread**2),
        "arm": gap * (2 / 3 * (1 / 8 - (1 / 2 - m) ** 3) - m**2 * (1 - m) ** 2),
        "disarm": gap * (1 - m) ** 2 * m * (1 / 2 - m),
        "enumeration": 0.0,
    }


def toy(p: float, seed: int, repeats: int) -> dict[str, float]:
    """The measured variances, by estimator."""
    logit = jnp.asarray(math.log(p / (1 - p)), jnp.float32)
    q, key = dist.Bernoulli(logits=logit), jax.random.key(seed)
    used = {name: name for name in NAMES} | adapted(cost, q, 1, key)
    return {
        name: float(variances(toy_loss(estimator, draws_of(name)), logit, key, repeats))
        for name, estimator in used.items()
    }


def adapted(f: Callable[[jax.Array], jax.Array], q: dist.Distribution, bits: int, key: jax.Array) -> dict[str, Any]:
    """REBAR with the options of least variance, and RELAX that starts from it."""
    rebar = adapt(REBAR(), f, q, key=key, num_samples=DRAWS)
    start = RELAX(Control.of(bits), scale=rebar.scale, temperature=rebar.temperature)
    relax = {f"RELAX, {words}, adapted": adapt(start, f, q, key=key, num_samples=n) for words, n in COUNTS.items()}
    return {"REBAR, adapted": rebar} | relax


def draws_of(name: str) -> int:
    return next((count for words, count in COUNTS.items() if words in name), 1)


def cost(bit: jax.Array) -> jax.Array:
    return (bit.astype(jnp.float32) - TARGET) ** 2


def toy_loss(estimator: Any, draws: int) -> Callable[[jax.Array, jax.Array], Any]:
    return lambda logit, key: rx.expectation(
        cost, dist.Bernoulli(logits=logit), key=key, num_samples=draws, estimator=estimator
    )


def variances(loss: Callable[[jax.Array, jax.Array], Any], at: jax.Array, key: jax.Array, repeats: int) -> jax.Array:
    """The variance of the gradient of a loss, of each of its elements."""
    keys, gradient = jax.random.split(key, repeats), jax.grad(loss)
    run = jax.jit(lambda at: jnp.var(jax.lax.map(lambda key: gradient(at, key), keys, batch_size=1000), axis=0))
    return run(at)


def autoencoder(seed: int, repeats: int, epochs: int, bits: int = 20) -> dict[str, float]:
    """The variances of the gradient of the bound of a fitted model, by estimator; the mean over held-out images."""
    data, held_out = rx.data.split(rx.read("builtin:digits"), 0.1, seed)
    fitted = rx.fit(
        data, posterior="bernoulli", binarize="threshold", latent_dim=bits, epochs=epochs, seed=seed
    )  # fmt: skip
    model, key = fitted.model, jax.random.key(seed)
    images = jnp.asarray(held_out.values[:SHOWN], jnp.float32)
    images = jax.vmap(lambda x: fitted.units.transform(x, key))(images)

    def of_elbo(estimator: Any, draws: int = 1) -> Any:
        return lambda x, q, key: rx.expectation(
            lambda z: reconstruction(model, x, z), q, key=key, num_samples=draws, estimator=estimator
        )

    def of_iwae(estimator: str) -> Any:
        return lambda x, q, key: rx.iwae_estimate(
            lambda z: model.log_joint(x, z), q, key=key, num_samples=5, estimator=estimator
        )

    first, keys = images[0], jax.random.split(key, repeats)
    learned = adapted(lambda z: reconstruction(model, first, z), bits_of(logits_of(model, first)), bits, key)
    bounds = {name: of_elbo(name) for name in NAMES[:-1]} | {
        name: of_elbo(made, draws_of(name)) for name, made in learned.items()
    }
    bounds |= {"K = 5, score-function": of_iwae("score-function"), "K = 5, VIMCO": of_iwae("vimco")}

    def variance(bound: Any) -> jax.Array:
        def of_image(x: jax.Array) -> jax.Array:
            gradient = jax.grad(lambda logits, key: bound(x, bits_of(logits), key))
            found = jax.lax.map(lambda key: gradient(logits_of(model, x), key), keys, batch_size=250)
            return jnp.var(found, axis=0).sum()

        return jax.jit(lambda: jax.lax.map(of_image, images))()

    found = {name: variance(bound) for name, bound in bounds.items()}
    of_first = {f"{FIRST}{name}": float(found[name][0]) for name in learned}
    return {name: float(of_images.mean()) for name, of_images in found.items()} | of_first


def logits_of(model: Any, x: jax.Array) -> jax.Array:
    """The logits of q(z | x)."""
    probs = model.posterior(x).mean
    return jnp.log(probs) - jnp.log1p(-probs)


def bits_of(logits: jax.Array) -> dist.Distribution:
    return dist.Bernoulli(logits=logits).to_event(1)


def reconstruction(model: Any, x: jax.Array, z: jax.Array) -> jax.Array:
    return model.likelihood(z.astype(jnp.float32)).log_prob(x)


def orderings(found: list[dict[str, float]], where: str) -> list[str]:
    """The claims of the papers, and in how many of the cases they hold."""
    claims = (
        ("disarm", "arm"),
        ("disarm", "leave-one-out"),
        ("leave-one-out", "score-function"),
        *((f"RELAX, {words}, adapted", "REBAR, adapted") for words in COUNTS),
        *((f"{FIRST}RELAX, {words}, adapted", f"{FIRST}REBAR, adapted") for words in COUNTS),
        *(("disarm", f"RELAX, {words}, adapted") for words in COUNTS),
        ("K = 5, VIMCO", "K = 5, score-function"),
    )
    lines = []
    for less, more in claims:
        if less in found[0] and more in found[0]:
            right = sum(each[less] <= each[more] for each in found)
            lines.append(f"{where}: {less} below {more} in {right} of {len(found)}.")
    return lines


def measure(seeds: Sequence[int], *, repeats: int = 200_000, of_images: int = 2000, epochs: int = 60) -> Record:
    rows, notes = [], []
    of_toy = [toy(p, 0, repeats) for p in PROBABILITIES]
    for p, found in zip(PROBABILITIES, of_toy, strict=True):
        exact = closed_forms(p)
        for name, value in found.items():
            published = f"{exact[name]:.6f}" if name in exact else ""
            rows.append(Row(f"toy, p = {p}: {name}", published, (value,), (0,), 6))
    notes += orderings(of_toy, "Toy, three probabilities")
    models = by_seed(lambda seed: autoencoder(seed, of_images, epochs), seeds)
    rows += [
        Row(f"autoencoder: {name}", "", tuple(each[name] for each in models), tuple(seeds), 2) for name in models[0]
    ]
    return Record(tuple(rows), (*notes, *orderings(models, f"Autoencoder, {len(seeds)} seeds")))


def main() -> None:
    options = parser(__doc__, 3).parse_args()
    finish("binary_gradients", lambda: measure(options.seeds), keep=options.keep)


if __name__ == "__main__":
    main()
