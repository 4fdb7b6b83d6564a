"""Differentially private fits: how much noise a guarantee takes, and what of a fit it is for."""

import math
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from reparax.data import Dataset, Noise, Release, Stream, num_histograms, privately_described
from reparax.errors import DataError, RecipeError
from reparax.extras import extras
from reparax.model import Model
from reparax.priors.learned import Moments
from reparax.recipe import DELTA, Guarantee, Recipe, checked
from reparax.training import AT_ONCE, Private, Run, sees_batch

OF_DESCRIPTION = 0.2
"""The fraction of epsilon that the description would have alone; together they take less than the sum."""
OF_NAMES = 0.1
"""The fraction of delta for naming a value that a single row has."""
OF_BATCHES = 0.01
"""The fraction of delta for batches that are larger than the largest."""
LEAST_NOISE, MOST_NOISE = 2.0**-5, 2.0**20
TOLERANCE = 1e-3
GRID = 1e-4


def described_for(dataset: Dataset | Stream, chosen: Mapping[str, Any]) -> Dataset | Stream:
    """The data with a private description of their columns if ``chosen`` has ``dp``, and unless they have one already.

    Raises:
        DataError: They are not a table, or too small for it.
        RecipeError: Epsilon or delta is out of its range.
        MissingExtra: The library that does the accounting is not installed.
    """
    epsilon, delta = checked("dp", chosen.get("dp") or 0.0), checked("dp_delta", chosen.get("dp_delta") or DELTA)
    if not epsilon or (isinstance(dataset, Dataset) and dataset.release is not None):
        return dataset
    if isinstance(dataset, Stream):
        raise DataError(
            expected="rows in memory for a differentially private fit (--dp), whose batches are drawn from all of them",
            got=f"{len(dataset):,} rows that are read in blocks",
            cure="give it more memory (--memory), or leave --dp out",
        )
    count = num_histograms(dataset)
    scale = _least_noise(lambda scale: _histograms(scale, count), OF_DESCRIPTION * epsilon, (1 - OF_NAMES) * delta)
    generator = np.random.default_rng(secrets.randbits(128))
    return privately_described(dataset, Noise(scale, OF_NAMES * delta, generator))


class Budget(NamedTuple):
    """The noise of a private fit, and what it guarantees.

    Attributes:
        private: The noise of its steps.
        guarantee: The guarantee.
        key: The key of all noise of its training, which nobody may know: whoever does can subtract the noise.
    """

    private: Private
    guarantee: Guarantee
    key: jax.Array

    @classmethod
    def of(cls, recipe: Recipe, dataset: Dataset | Stream) -> "Budget":
        """The budget of a recipe, for data that are described privately.

        Raises:
            RecipeError: Something of the recipe would need the rows more often than is accounted for; or no noise
                suffices.
        """
        from scipy.stats import binom  # here, as importing it takes a third of the time of all imports

        release = dataset.release if isinstance(dataset, Dataset) else None
        assert release is not None
        _refuse(recipe)
        num_examples = dataset.schema.num_examples  # with noise
        size = min(recipe.batch_size, num_examples)
        rate, steps = size / num_examples, recipe.epochs * max(1, num_examples // size)
        _check_delta(recipe, num_examples)
        accounted = (1 - OF_NAMES - OF_BATCHES) * recipe.dp_delta
        noise = _least_noise(lambda noise: _all(noise, rate, steps, release), recipe.dp, accounted)
        beyond = OF_BATCHES * recipe.dp_delta / (steps * (1 + math.exp(min(recipe.dp, 100.0))))
        most = int(binom.isf(beyond, len(dataset), rate)) + 1
        private = Private(recipe.clip_norm, noise, size, num_examples, -(-most // AT_ONCE) * AT_ONCE)
        guarantee = Guarantee(
            epsilon=recipe.dp, delta=recipe.dp_delta, clip_norm=recipe.clip_norm, noise_multiplier=noise,
            sampling_rate=rate, steps=steps, description_noise=release.scale, num_histograms=release.num_histograms,
        )  # fmt: skip
        return cls(private, guarantee, _secret_key())


def require_budget(recipe: Recipe, budget: Budget | None, model: Model, part: Dataset) -> None:
    """Refuses private fits outside of `fit`, and parts that look at the rows outside of the steps.

    Raises:
        RecipeError: There is such a part, or a guarantee is asked for where many models are fitted.
    """
    if not recipe.dp:
        return
    if budget is None:
        raise RecipeError(
            expected="one differentially private fit at a time, as each of them takes from the same guarantee",
            got=f"many fits with dp={recipe.dp:g}",
            cure="leave --dp out, or fit a single model",
        )
    if part.classes is not None or isinstance(model.prior, Moments):
        raise RecipeError(
            expected="an objective and a prior that see rows in the steps of training only (--dp)",
            got=f"the {recipe.name('objective')} objective with the {recipe.name('prior')} prior",
            cure="choose --objective elbo and --prior standard-normal",
        )


def require_single_rows(run: Run[Any], recipe: Recipe) -> None:
    """Refuses an objective that sees its batch, whose gradients for single rows contain other rows.

    Raises:
        RecipeError: It does.
    """
    if sees_batch(run.model, run.objective, run.data, batch_size=recipe.batch_size, transform=run.transform):
        raise RecipeError(
            expected="an objective of single rows for a differentially private fit (--dp), as each gradient is clipped",
            got=f"the {recipe.name('objective')} objective, which sees its batch",
            cure="choose --objective elbo or iwae",
        )


def _secret_key() -> jax.Array:
    words = [secrets.randbits(32) for _ in range(2)]
    return jax.random.wrap_key_data(jnp.asarray(words, jnp.uint32), impl="threefry2x32")


def _refuse(recipe: Recipe) -> None:
    """Refuses what would look at the rows outside of the steps that are accounted for.

    Raises:
        RecipeError: The recipe has it.
    """
    wanted = {
        "valid": (recipe.valid, 0.0), "trim": (recipe.trim, 0.0), "rows": (recipe.rows, 0),
        "hide": (recipe.hide, 0.0), "ensemble": (recipe.ensemble, 1), "relations": (recipe.relations, "none"),
    }  # fmt: skip
    for name, (got, only) in wanted.items():
        if got != only:
            raise RecipeError(
                expected=f"{name}={only} for a differentially private fit (--dp)",
                got=f"{name}={got}",
                cure=f"leave --{name} out",
            )


def _check_delta(recipe: Recipe, num_examples: int) -> None:
    if recipe.dp_delta * num_examples > 1:
        raise RecipeError(
            expected=f"a delta far below {1 / num_examples:.1e}, 1/n, with which publishing one whole row would do",
            got=f"{recipe.dp_delta:.1e}",
            cure="choose a smaller --dp-delta",
        )


def _histograms(scale: float, count: int) -> Any:
    """Counts with noise, of histograms in which one row changes one count by one: together one Gaussian mechanism."""
    import dp_accounting

    return dp_accounting.GaussianDpEvent(scale / math.sqrt(count))


def _all(noise: float, rate: float, steps: int, release: Release) -> Any:
    """The description and all steps."""
    import dp_accounting

    step = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    described = _histograms(release.scale, release.num_histograms)
    return dp_accounting.ComposedDpEvent([described, dp_accounting.SelfComposedDpEvent(step, steps)])


@extras()
def _least_noise(event: Callable[[float], Any], epsilon: float, delta: float) -> float:
    """The least noise, by privacy loss distributions (Koskela et al. 2020), for tables that differ by one row.

    Raises:
        RecipeError: None in a wide range suffices.
        MissingExtra: The library is not installed.
    """
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    def accountant() -> Any:
        # Losses are rounded against us: a coarser grid is sound, and much faster where epsilon is large.
        return PLDAccountant(value_discretization_interval=GRID * max(1.0, epsilon))

    def suffices(noise: float) -> bool:
        return accountant().compose(event(noise)).get_epsilon(delta) <= epsilon

    # The accounting is slow where there is little noise: the range is widened from the middle.
    high = 1.0
    while not suffices(high):
        high *= 2
        if high > MOST_NOISE:
            raise RecipeError(
                expected="an epsilon that some noise gives", got=f"{epsilon:g}", cure="choose a larger --dp"
            )
    low = high / 2
    while high <= 1 and suffices(low):
        high, low = low, low / 2
        if low < LEAST_NOISE:
            raise RecipeError(
                expected="an epsilon that means something", got=f"{epsilon:g}, which asks for hardly any noise",
                cure="choose a smaller --dp",
            )  # fmt: skip
    bracket = dp_accounting.ExplicitBracketInterval(low, high)
    return float(dp_accounting.calibrate_dp_mechanism(accountant, event, epsilon, delta, bracket, tol=TOLERANCE * high))
