"""A variational autoencoder with categorical codes, by hand: `rx.expectation` inside an ordinary training loop.

The data are scikit-learn's handwritten digits (8 by 8 pixels, black or white). The code of an image is four categories
of eight values each, 4096 in all: too many to enumerate at every step, few enough to do so once at the end, so that the
estimated bound has an exact referee. The encoder's weights reach the bound through q, the decoder's through f.

Prints the bound while training, and the estimated and the exact bound of unseen images.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
from sklearn.datasets import load_digits

import reparax as rx

VARIABLES, VALUES = 4, 8
BATCH = 100


class Model(NamedTuple):
    """An encoder from pixels to logits of the code, and a decoder from the code to logits of the pixels."""

    encoder: eqx.nn.MLP
    decoder: eqx.nn.MLP


def data() -> tuple[jax.Array, jax.Array]:
    """Training and unseen images, as zeros and ones."""
    images = (load_digits().data > 7).astype(np.float32)
    return jnp.asarray(images[:1500]), jnp.asarray(images[1500:])


def new_model(key: jax.Array, width: int = 64) -> Model:
    encoder_key, decoder_key = jax.random.split(key)
    size = VARIABLES * VALUES
    return Model(eqx.nn.MLP(64, size, width, 1, key=encoder_key), eqx.nn.MLP(size, 64, width, 1, key=decoder_key))


def posterior(model: Model, image: jax.Array) -> dist.Distribution:
    """q(z given x): independent categories."""
    return dist.Categorical(logits=model.encoder(image).reshape(VARIABLES, VALUES)).to_event(1)


def log_likelihood(model: Model, image: jax.Array, code: jax.Array) -> jax.Array:
    """log p(x given z), in nats."""
    logits = model.decoder(jax.nn.one_hot(code, VALUES).reshape(-1))
    return jnp.sum(dist.Bernoulli(logits=logits).log_prob(image))


def kl(model: Model, image: jax.Array) -> jax.Array:
    """KL(q || p) to the uniform prior, in closed form."""
    log_q = jax.nn.log_softmax(model.encoder(image).reshape(VARIABLES, VALUES))
    return jnp.sum(jnp.exp(log_q) * (log_q + jnp.log(VALUES)))


def elbo(model: Model, image: jax.Array, key: jax.Array, estimator: str = "auto", num_samples: int = 4) -> jax.Array:
    """The evidence lower bound of one image, whose gradient is the estimator's."""
    expected = rx.expectation(
        lambda code: log_likelihood(model, image, code), posterior(model, image), key=key, num_samples=num_samples,
        estimator=estimator,
    )  # fmt: skip
    return expected - kl(model, image)


def exact_elbo(model: Model, image: jax.Array) -> jax.Array:
    """The same bound, summed over all codes."""
    grid = jnp.meshgrid(*[jnp.arange(VALUES)] * VARIABLES, indexing="ij")
    codes = jnp.stack(grid, axis=-1).reshape(-1, VARIABLES)
    log_q = jax.vmap(posterior(model, image).log_prob)(codes)
    values = jax.vmap(lambda code: log_likelihood(model, image, code))(codes)
    return jnp.sum(jnp.exp(log_q) * values) - kl(model, image)


def train(steps: int = 3000, seed: int = 0) -> tuple[Model, jax.Array]:
    """The trained model, and the bound of every batch on the way."""
    images, _ = data()
    start_key, loop_key = jax.random.split(jax.random.key(seed))
    weights, fixed = eqx.partition(new_model(start_key), eqx.is_inexact_array)
    optimizer = optax.adam(3e-3)

    def loss(weights: Model, batch: jax.Array, key: jax.Array) -> jax.Array:
        model = eqx.combine(weights, fixed)
        keys = jax.random.split(key, len(batch))
        return -jnp.mean(jax.vmap(lambda image, k: elbo(model, image, k))(batch, keys))

    def step(carry, key):
        weights, state = carry
        batch_key, elbo_key = jax.random.split(key)
        batch = images[jax.random.choice(batch_key, len(images), (BATCH,), replace=False)]
        value, gradient = jax.value_and_grad(loss)(weights, batch, elbo_key)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(weights, updates), state), -value

    @jax.jit
    def run(weights):
        return jax.lax.scan(step, (weights, optimizer.init(weights)), jax.random.split(loop_key, steps))

    (weights, _), bounds = run(weights)
    return eqx.combine(weights, fixed), bounds


def referee(model: Model, images: jax.Array, repeats: int = 16) -> tuple[float, float, float]:
    """The estimated bound of images, its standard error, and the exact bound."""
    keys = jax.random.split(jax.random.key(1), (repeats, len(images)))
    each = jax.jit(jax.vmap(jax.vmap(lambda image, k: elbo(model, image, k)), (None, 0)))(images, keys)
    exact = jax.jit(lambda: jax.lax.map(lambda image: exact_elbo(model, image), images))()
    means = np.asarray(each, np.float64).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(repeats)), float(jnp.mean(exact))


def main(steps: int = 3000) -> tuple[float, float, float]:
    """Trains, and compares the estimate with the exact bound on unseen images."""
    model, bounds = train(steps)
    for start in range(0, steps, max(steps // 6, 1)):
        print(f"step {start:5d}: {float(jnp.mean(bounds[start : start + 20])):8.2f} nats")
    estimated, error, exact = referee(model, data()[1])
    print(f"unseen images: {estimated:.3f} +- {error:.3f} nats estimated, {exact:.3f} exact")
    return estimated, error, exact


if __name__ == "__main__":
    main()
