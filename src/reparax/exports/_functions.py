"""The functions of a model that are exported: of one example, without random draws, with weights as constants."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.errors import NoClosedForm
from reparax.estimators import base_of, log_mean_exp
from reparax.model import Model
from reparax.networks import context_size
from reparax.recipe import FittedModel, Units
from reparax.tables import Layout, adapter_of, condition_features, prior_draws

STANDARD: Mapping[type, str] = {
    dist.Normal: "standard normal numbers",
    dist.Laplace: "standard Laplace numbers",
    dist.Logistic: "standard logistic numbers",
}
"""Bases of the form location + scale * noise, and what the noise is."""
FROM_BASE = "draws of the base of the posterior, whose parameters encode gives as base_NAME"


class Port(NamedTuple):
    """An input or output of an exported function.

    Attributes:
        name: Its name.
        shape: Its shape for one example; a batch has one more axis in front.
        text: What it is.
    """

    name: str
    shape: tuple[int, ...]
    text: str


class Function(NamedTuple):
    """A function of one example, from float32 arrays to float32 arrays.

    Attributes:
        name: Its name.
        call: The function: one positional argument for each input, a dictionary of outputs.
        inputs: What it takes.
        outputs: What it gives.
    """

    name: str
    call: Callable[..., dict[str, Array]]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def specs(self, *batch: Any) -> list[jax.ShapeDtypeStruct]:
        """The shapes of the inputs, with axes in front."""
        return [jax.ShapeDtypeStruct((*batch, *port.shape), jnp.float32) for port in self.inputs]


def functions_of(fitted: FittedModel, num_samples: int) -> tuple[Function, ...]:
    """``encode``, ``decode`` and ``score`` of a fitted model.

    The examples of a table with relations between columns are its extended rows; see `reparax.data.relations`.

    Args:
        fitted: The fitted model.
        num_samples: The number of draws of z for each example in ``score``.
    """
    return _encode(fitted), _decode(fitted), _score(fitted, num_samples)


def with_outputs(
    name: str, call: Callable[..., dict[str, Array]], inputs: tuple[Port, ...], texts: Mapping[str, str]
) -> Function:
    """A function with its outputs, whose shapes are computed without running it."""
    shapes = jax.eval_shape(call, *(jax.ShapeDtypeStruct(port.shape, jnp.float32) for port in inputs))
    outputs = tuple(Port(key, shapes[key].shape, texts.get(key, "a parameter")) for key in sorted(shapes))
    return Function(name, call, inputs, outputs)


def given_ports(fitted: FittedModel) -> tuple[Port, ...]:
    """The input that a conditional model needs besides the others."""
    size = context_size(fitted.model)
    if size == 0:
        return ()
    if fitted.schema.given is None:
        return (Port("context", (size,), "the context, as in the fit"),)
    columns = len(fitted.schema.given_columns)
    return (Port("given", (columns,), "what is given: numbers, days since 1970, codes of categories"),)


def plain_of(fitted: FittedModel, given: tuple[Array, ...]) -> Model:
    """The plain model for what is given of one example."""
    if not given:
        return fitted.model
    if fitted.schema.given is None:
        return fitted.model.given(given[0])
    units = Units.of(fitted.schema.given)
    return fitted.model.given(condition_features(Layout.of_summary(units.summary), given[0]))


def _example(fitted: FittedModel, text: str) -> Port:
    return Port("x", tuple(fitted.units.summary.event_shape), text)


def _encode(fitted: FittedModel) -> Function:
    expected, nothing = fitted.units.expected, jax.random.key(0)

    def call(x: Array, *given: Array) -> dict[str, Array]:
        model = plain_of(fitted, given)
        x = expected(x, nothing)
        posterior = model.posterior(x)
        result = {"z": jnp.ravel(model.posterior.code(x)), **_std_of(model, posterior)}
        base, _ = _noise_base(posterior)
        if _has_noise(fitted) and type(_stripped(base)) not in STANDARD:
            result |= {f"base_{name}": value for name, value in parameters_of(base).items()}
        return _floats(result)

    inputs = (_example(fitted, "an example, as described under data"), *given_ports(fitted))
    texts = {"z": "the code: the posterior mean of z", "z_std": "the posterior standard deviation of z"}
    return with_outputs("encode", call, inputs, texts)


def _has_noise(fitted: FittedModel) -> bool:
    """Whether z is drawn; a deterministic posterior and a code that x is rounded to have one value."""
    posterior = fitted.model.posterior
    return posterior.has_density and not posterior.part.is_rounded


def _std_of(model: Model, posterior: dist.Distribution) -> dict[str, Array]:
    if not model.posterior.has_density:
        return {}
    try:
        return {"z_std": jnp.sqrt(jnp.ravel(posterior.variance))}
    except (NoClosedForm, NotImplementedError):
        return {}


def _decode(fitted: FittedModel) -> Function:
    latent_shape = fitted.model.posterior.latent_shape

    def call(z: Array, *given: Array) -> dict[str, Array]:
        likelihood = plain_of(fitted, given).likelihood
        distribution = likelihood(z.reshape(latent_shape))
        return _floats(
            {"mean": plain_of(fitted, given).expected(z.reshape(latent_shape)), **parameters_of(distribution)}
        )

    inputs = (Port("z", (math.prod(latent_shape),), "a latent vector"), *given_ports(fitted))
    texts = {"mean": "E[x | z]; of a column of categories the code of the most probable one"}
    texts["parameters"] = "the parameters of all columns of p(x | z)"
    return with_outputs("decode", call, inputs, texts)


def parameters_of(distribution: Any) -> dict[str, Array]:
    """The parameters of a distribution by name, those of the innermost one if it is wrapped."""
    inner = _stripped(distribution)
    if hasattr(inner, "layout"):
        return {"parameters": inner.parameters}
    given = {name: vars(inner).get(name) for name in inner.arg_constraints}
    return {name: value for name, value in given.items() if isinstance(value, jax.Array | np.ndarray)}


def _stripped(distribution: Any) -> Any:
    while isinstance(distribution, dist.Independent | dist.ExpandedDistribution):
        distribution = distribution.base_dist
    return distribution


def _noise_base(q: dist.Distribution) -> tuple[dist.Distribution, Callable[[Array], tuple[Array, Array]]]:
    """What the noise is a draw of, and z and log q(z) from it; z itself where several variables are the base."""
    base, push = base_of(q)
    return (base, push) if isinstance(base, dist.Distribution) else (q, lambda z: (z, q.log_prob(z)))


class _Noise(NamedTuple):
    """How the draws of z depend on the noise that is given to ``score``.

    Attributes:
        shape: The shape of the noise of one draw; None where there is none.
        text: What the noise is.
    """

    shape: tuple[int, ...] | None
    text: str


def _noise_of(fitted: FittedModel, ports: tuple[Port, ...]) -> _Noise:
    """What the noise of one draw is, without running the encoder."""
    if not _has_noise(fitted):
        return _Noise(None, "")
    texts: list[str] = []

    def draw(x: Array, *given: Array) -> Array:
        base, _ = _noise_base(plain_of(fitted, given).posterior(x))
        texts.append(STANDARD.get(type(_stripped(base)), FROM_BASE))
        return jnp.zeros(base.batch_shape + base.event_shape)

    shape = jax.eval_shape(draw, *(jax.ShapeDtypeStruct(port.shape, jnp.float32) for port in ports)).shape
    return _Noise(shape, texts[0])


def _pushed(model: Model, x: Array, noise: Array) -> tuple[Array, Array]:
    """z and log q(z | x) for the noise of each draw."""
    base, push = _noise_base(model.posterior(x))
    root = _stripped(base)
    if type(root) in STANDARD:
        noise = root.loc + root.scale * noise
    return jax.vmap(push)(noise)


def _score(fitted: FittedModel, num_samples: int) -> Function:
    units, adapter = fitted.units, adapter_of(fitted.model.likelihood)
    # Bits that training drew at random are an input.
    transform = units.transform if units.binarize != "dynamic" else lambda x, key: x
    nothing, has_density = jax.random.key(0), fitted.model.posterior.has_density
    has_noise = _has_noise(fitted)

    def call(x: Array, *others: Array) -> dict[str, Array]:
        noise, given = (others[0], others[1:]) if has_noise else (None, others)
        model = plain_of(fitted, given)
        x = transform(x, nothing)
        prior = model.prior(model.posterior)
        if noise is None:
            z = model.posterior.code(x)[None]
            kl = -jax.vmap(prior.log_prob)(z) if has_density else jnp.zeros(1)
        else:
            z, log_q = _pushed(model, x, noise)
            kl = log_q - jax.vmap(prior.log_prob)(z)
        if adapter.is_table:
            row = adapter.score(model.likelihood, x, z, prior_draws(prior))
            result = {"anomaly_score": row.anomaly_score, "shares": row.shares}
            log_density = log_mean_exp(row.log_prob - kl)
        else:
            log_prob = jax.vmap(lambda one: model.likelihood(one).log_prob(x))(z)
            log_density = log_mean_exp(log_prob - kl)
            result = {"anomaly_score": -log_density}
        return _floats(result | ({"log_density": log_density} if has_density else {}))

    bits = "an example of bits" if units.binarize == "dynamic" else "an example, as described under data"
    x, given = _example(fitted, bits), given_ports(fitted)
    noise = _noise_of(fitted, (x, *given))
    inputs = (x, *(() if noise.shape is None else (Port("noise", (num_samples, *noise.shape), noise.text),)), *given)
    draws = "" if noise.shape is None else f" from {num_samples} draws"
    texts = {
        "anomaly_score": "higher is more anomalous",
        "log_density": f"a lower bound on log p(x){draws}, nats",
        "shares": "how much each column contributes to the anomaly score",
    }
    return with_outputs("score", call, inputs, texts)


def _floats(values: Mapping[str, Array]) -> dict[str, Array]:
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}
