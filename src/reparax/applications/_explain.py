"""How every parameter of a distribution or a model is differentiated."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Num

from reparax import estimators
from reparax.distributions import has_analytic_kl
from reparax.errors import RecipeError
from reparax.estimators import Explanation, Line
from reparax.model import Model
from reparax.recipe import FittedModel


def explain(subject: Any, estimator: Any = "auto", *, example: Num[Array, "*event"] | None = None) -> Explanation:
    """Which estimator each variable gets, per parameter: how, unbiased or not, why, the reference; prints a table.

    Of a model it explains the posterior's gradient and the KL: in closed form, or estimated with the same samples.

    Args:
        subject: A distribution, a pytree of distributions, a `Model` or a `FittedModel`.
        estimator: As for `rx.expectation`; of a fitted model, its recipe's by default.
        example: One example, needed of a `Model` alone.

    Raises:
        InvalidEstimator: The estimator would be wrong.
        RecipeError: A `Model` without an example.
    """
    if isinstance(subject, FittedModel):
        if estimator == "auto" and subject.recipe is not None:
            estimator = subject.recipe.estimator
        summary = subject.units.summary
        middle = jnp.broadcast_to(jnp.asarray(summary.mean, jnp.float32), summary.event_shape)
        return _of_model(subject.model, middle, estimator)
    if isinstance(subject, Model):
        if example is None:
            raise RecipeError(
                expected="an example to explain a model", got="none", cure="pass example=x, one example of the data"
            )
        return _of_model(subject, example, estimator)
    return estimators.explain(subject, estimator)


def _of_model(model: Model, example: Array, estimator: Any) -> Explanation:
    posterior, prior = model.posterior(example), model.prior(model.posterior)
    if model.posterior.latent_space == "point":
        return Explanation(
            (Line("z", "Delta", "v", "pathwise", "deterministic", True, "no noise: backpropagation", ""),)
        )
    lines = estimators.explain({"z": posterior}, estimator).lines
    families = f"{type(posterior).__name__} || {type(prior).__name__}"
    if has_analytic_kl(posterior, prior):
        kl = Line(
            "KL", families, "all", "analytic", "closed form", True, "the pair has one", "reparax.distributions.kl"
        )
    else:
        used = lines[0].estimator
        why = "no closed form: E_q[log q - log p] with the samples of the reconstruction"
        kl = Line("KL", families, "all", used, "estimated", lines[0].unbiased, why, lines[0].reference)
    return Explanation((*lines, kl))
