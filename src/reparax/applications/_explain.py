"""How every parameter of a distribution or a model is differentiated."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Num

from reparax import estimators
from reparax.distributions import has_analytic_kl
from reparax.errors import RecipeError
from reparax.estimators import Explanation, Line
from reparax.model import Model
from reparax.networks import context_size
from reparax.objectives.bounds import THROUGH_Z_ALONE
from reparax.recipe import FittedModel

IN_EACH_WEIGHT = "log q - log p is part of each importance weight"


def explain(
    subject: Any,
    estimator: Any = "auto",
    f: Callable[..., Any] | None = None,
    *,
    parameters: Any = None,
    num_samples: int = 1,
    example: Num[Array, "*event"] | None = None,
) -> Explanation:
    """Which estimator each variable gets, and why: one row for each parameter, with unbiasedness and reference.

    The result prints as a table. For a model, it explains the gradient of the posterior and that of the KL, which is in
    closed form or estimated with the same samples.

    Args:
        subject: A distribution, a pytree of distributions, a function that makes these from ``parameters``, a `Model`
            or a `FittedModel`.
        estimator: As for `rx.expectation`; for a fitted model, by default that of its recipe.
        f: For distributions, the integrand: adds where it may jump, and counts its evaluations.
        parameters: For distributions, as for `rx.compare`: adds how each of these arrays affects the expectation.
        num_samples: For distributions, the number of draws.
        example: One example; needed for a `Model` only.

    Raises:
        InvalidEstimator: The estimator would be biased.
        RecipeError: A `Model` was given without an example.
    """
    if isinstance(subject, FittedModel):
        recipe = subject.recipe
        if estimator == "auto" and recipe is not None:
            estimator = recipe.option("objective", "estimator", "auto")
        summary = subject.units.summary
        middle = jnp.broadcast_to(jnp.asarray(summary.mean, jnp.float32), summary.event_shape)
        weighted = recipe is not None and recipe.name("objective") == "iwae"
        size = context_size(subject.model)
        # Which estimator there is does not depend on what is given.
        plain = subject.model.given(jnp.zeros(size)) if size else subject.model
        return _of_model(plain, middle, estimator, IN_EACH_WEIGHT if weighted else None)
    if isinstance(subject, Model):
        if example is None:
            raise RecipeError(
                expected="an example to explain a model", got="none", cure="pass example=x, one example of the data"
            )
        return _of_model(subject, example, estimator)
    return estimators.explain(subject, estimator, f, parameters=parameters, num_samples=num_samples)


def _of_model(model: Model, example: Array, estimator: Any, why_estimated: str | None = None) -> Explanation:
    """The rows of the posterior and of the KL, which may be estimated even if a closed form exists."""
    posterior, prior = model.posterior(example), model.prior(model.posterior)
    if not model.posterior.has_density:
        return Explanation(
            (Line("z", "Delta", "v", "pathwise", "deterministic", True, "no noise: backpropagation", ""),)
        )
    lines = estimators.explain({"z": posterior}, estimator).lines
    families = f"{type(posterior).__name__} || {type(prior).__name__}"
    if lines[0].estimator in THROUGH_Z_ALONE:
        why_estimated = why_estimated or "log q is differentiated through z alone, using the samples"
    if why_estimated is None and has_analytic_kl(posterior, prior):
        kl = Line(
            "KL", families, "all", "analytic", "closed form", True, "the pair has one", "reparax.distributions.kl"
        )
    else:
        used = lines[0].estimator
        why = why_estimated or "no closed form: E_q[log q - log p] with the samples of the reconstruction"
        kl = Line("KL", families, "all", used, "estimated", lines[0].unbiased, why, lines[0].reference)
    return Explanation((*lines, kl))
