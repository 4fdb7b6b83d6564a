"""Bayesian logistic regression four ways: the same posterior, four gradient estimators, and the exact bound as referee.

The data are scikit-learn's breast cancer table, standardized, with an intercept: 31 weights with prior N(0, I), and the
posterior approximation q(w) = N(mu, diag(sigma^2)). Along each x_i, w has a one-dimensional Normal distribution, so
that the
evidence lower bound has an exact value by quadrature: what stochastic training reaches is measured against it.

Writes a picture, bayesian_logistic_regression.png, into the folder given (default: runs/).
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer

import reparax as rx

ESTIMATORS = ("pathwise", "measure-valued", "leave-one-out", "sobol")
NUM_SAMPLES = {"pathwise": 16, "measure-valued": 8, "leave-one-out": 256, "sobol": 16}
STEPS = 3000


def data() -> tuple[jax.Array, jax.Array]:
    """Standardized columns with an intercept, and labels as signs."""
    columns, labels = load_breast_cancer(return_X_y=True)
    standardized = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    with_intercept = np.column_stack([standardized, np.ones(len(standardized))])
    return jnp.asarray(with_intercept, jnp.float32), jnp.asarray(2 * labels - 1, jnp.float32)


X, SIGN = data()
NODES, WEIGHTS = (jnp.asarray(part, jnp.float32) for part in np.polynomial.hermite_e.hermegauss(64))


def posterior(parameters: tuple[jax.Array, jax.Array]) -> dist.Distribution:
    """q(w) = N(mu, diag(sigma^2)) from mu and log sigma."""
    mean, log_scale = parameters
    return dist.Normal(mean, jnp.exp(log_scale)).to_event(1)


def kl(parameters: tuple[jax.Array, jax.Array]) -> jax.Array:
    """KL(q || N(0, I)), in closed form."""
    mean, log_scale = parameters
    return 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale)


def log_likelihood(weights: jax.Array) -> jax.Array:
    """log p(y | X, w), in nats."""
    return jnp.sum(jax.nn.log_sigmoid(SIGN * (X @ weights)))


def exact_elbo(parameters: tuple[jax.Array, jax.Array]) -> jax.Array:
    """The bound without sampling: one Gauss-Hermite sum for each row."""
    mean, log_scale = parameters
    center = SIGN * (X @ mean)
    spread = jnp.sqrt(X**2 @ jnp.exp(2 * log_scale))
    values = jax.nn.log_sigmoid(center[:, None] + spread[:, None] * NODES[None])
    return jnp.sum(values @ WEIGHTS) / jnp.sqrt(2 * jnp.pi) - kl(parameters)


def estimated_elbo(
    parameters: tuple[jax.Array, jax.Array], key: jax.Array, estimator: str, num_samples: int
) -> jax.Array:
    """The bound whose gradient is the named estimator's."""
    expected = rx.expectation(
        log_likelihood, posterior(parameters), key=key, num_samples=num_samples, estimator=estimator
    )
    return expected - kl(parameters)


def train(estimator: str) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """Parameters after training, and the exact bound along the way."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, STEPS))
    start = (jnp.zeros(X.shape[1]), jnp.zeros(X.shape[1]))

    def step(carry, key):
        parameters, state = carry
        gradient = jax.grad(lambda p: -estimated_elbo(p, key, estimator, NUM_SAMPLES[estimator]))(parameters)
        updates, state = optimizer.update(gradient, state)
        parameters = optax.apply_updates(parameters, updates)
        return (parameters, state), exact_elbo(parameters)

    keys = jax.random.split(jax.random.key(0), STEPS)
    (parameters, _), bounds = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), keys))()
    return parameters, bounds


def variance(
    parameters: tuple[jax.Array, jax.Array], estimator: str, num_samples: int, repeats: int = 4000
) -> np.ndarray:
    """The mean over dimensions of the gradient's variance, for mu and for log sigma."""
    keys = jax.random.split(jax.random.key(1), repeats)
    gradient = jax.grad(estimated_elbo)
    draws = jax.jit(lambda p: jax.lax.map(lambda k: gradient(p, k, estimator, num_samples), keys, batch_size=50))
    return np.array([np.var(np.asarray(part), axis=0).mean() for part in draws(parameters)])


def picture(curves: dict[str, np.ndarray], best: float) -> Figure:
    """How far each estimator's run is from the best bound, on a logarithmic scale."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, bounds in curves.items():
        axes.plot(best - bounds + 1e-4, label=f"{name}, {NUM_SAMPLES[name]} samples", linewidth=1.2)
    axes.set(xlabel="training step", ylabel="nats below the best bound", yscale="log")
    axes.set_title("Bayesian logistic regression: one posterior, four gradient estimators", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def main(folder: str = "runs") -> None:
    start = (jnp.zeros(X.shape[1]), jnp.zeros(X.shape[1]))
    print(f"exact bound at the start: {exact_elbo(start):.3f} nats")
    found = {name: train(name) for name in ESTIMATORS}
    for name, (_, bounds) in found.items():
        print(f"{name:16s} reaches {bounds[-1]:.3f} nats")
    best = max(float(bounds.max()) for _, bounds in found.values())
    optimum = found["sobol"][0]
    print("variance of one draw's gradient at the optimum, mean over dimensions: d/dmu | d/dlog sigma")
    for name in ("pathwise", "measure-valued", "mean-baseline", "score-function"):
        mean, scale = variance(optimum, name, 1, 1000 if name == "measure-valued" else 4000)
        print(f"{name:16s} {mean:10.3g} | {scale:.3g}")
    print("variance with 64 draws at the start, relative to independent draws: d/dmu | d/dlog sigma")
    plain = variance(start, "pathwise", 64, 500)
    for name in ("sobol", "latin-hypercube", "antithetic"):
        mean, scale = variance(start, name, 64, 500) / plain
        print(f"{name:16s} {mean:10.2f} | {scale:.2f}")
    path = Path(folder) / "bayesian_logistic_regression.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture({name: np.asarray(bounds) for name, (_, bounds) in found.items()}, best).savefig(path, dpi=150)
    print(f"picture: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
