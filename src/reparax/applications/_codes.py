"""Which codes of a codebook are used, and which dimensions of other latent variables."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from reparax.applications._door import dataset_of
from reparax.applications._encode import encode
from reparax.applications._rows import map_rows
from reparax.distributions.codes import factors
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.posteriors import Posterior
from reparax.posteriors.codes import CodePosterior
from reparax.recipe import FittedModel

ACTIVE_VARIANCE = 0.01
"""A latent dimension is active if the variance of its posterior mean is above this; Burda et al. (2016), section 5."""


def active_dimensions(posterior: Posterior, codes: Float[np.ndarray, "n latent"]) -> Bool[np.ndarray, " k"]:
    """Which latent dimensions say something of the examples; for codes, which indices have more than one value.

    Args:
        posterior: The posterior.
        codes: What `encode` gives for the examples.
    """
    return is_active(posterior, codes.var(axis=0), np.ptp(codes, axis=0))


def is_active(
    posterior: Posterior, variances: Float[np.ndarray, " latent"], ranges: Float[np.ndarray, " latent"]
) -> Bool[np.ndarray, " k"]:
    """`active_dimensions` from the variances of the codes and the differences of their largest and smallest values."""
    if isinstance(posterior, CodePosterior):
        return ranges[: posterior.num_indices] > 0
    return variances > ACTIVE_VARIANCE


@dataclass(frozen=True)
class CodeUse:
    """How codes are used, for each of the P indices of z.

    Attributes:
        probabilities: How often index p has the value k: the mean of q(k_p = k | x) over the examples.
        dead: The number of values that no example has as its most probable code.
        perplexity: exp of the entropy of the probabilities: K if all codes are used equally, 1 if only one is.
        information: The mutual information of the index and the example, in nats: the entropy minus the mean entropy of
            q(k_p | x), which is 0 where x is rounded to its code.
        num_stages: The stages of a position, whose indices follow one another.
    """

    probabilities: Float[np.ndarray, "p k"]
    dead: Int[np.ndarray, " p"]
    perplexity: Float[np.ndarray, " p"]
    information: Float[np.ndarray, " p"]
    num_stages: int

    @property
    def num_codes(self) -> int:
        """K."""
        return self.probabilities.shape[1]

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each index: its position, and its stage where there are several."""
        places = (divmod(index, self.num_stages) for index in range(len(self.perplexity)))
        return tuple(f"{place + 1}.{stage + 1}" if self.num_stages > 1 else f"{place + 1}" for place, stage in places)

    def as_dict(self) -> dict[str, Any]:
        """The numbers of the report."""
        return {
            "num_codes": self.num_codes,
            "positions": list(self.names),
            "perplexity": self.perplexity.tolist(),
            "dead": self.dead.tolist(),
            "information": self.information.tolist(),
        }


def code_use(fitted: FittedModel, data: Any, *, context: Any = None) -> CodeUse:
    """How often each code is used for the examples of data.

    Args:
        fitted: The fitted model, whose posterior is one of codes.
        data: Anything `reparax.data.read` reads, or a `Dataset`.
        context: For a conditional model, one row of numbers for each example.

    Raises:
        DataError: The data have another shape or kind than in the fit.
        RecipeError: The latent variables are no codes, or an ensemble.
    """
    fitted.require_one("to count the codes of")
    posterior = fitted.model.posterior
    if not isinstance(posterior, CodePosterior):
        raise RecipeError(
            expected="a model whose latent variables are codes",
            got=f"one on the {posterior.latent_space} latent space",
            cure="fit with --posterior fsq, vq, residual-vq or categorical-codebook",
        )
    dataset = dataset_of(fitted, data, context)
    chosen = encode(fitted, dataset)[:, : posterior.num_indices].astype(np.int64)
    counts = np.stack([np.bincount(index, minlength=posterior.num_codes) for index in chosen.T])
    if posterior.part.is_rounded:
        mean, noise = counts / len(dataset), np.zeros(len(counts))
    else:
        probabilities, entropies = map_rows(
            _probabilities, fitted, dataset, transform=fitted.units.expected, key=jax.random.key(0),
            work=max(1, counts.size // fitted.units.summary.size),
        )  # fmt: skip
        mean, noise = (part.mean(axis=0, dtype=np.float64) for part in (probabilities, entropies))
    entropy = -np.sum(mean * np.log(np.where(mean > 0, mean, 1.0)), axis=1)
    information = np.maximum(entropy - noise, 0.0)
    return CodeUse(mean, (counts == 0).sum(axis=1), np.exp(entropy), information, posterior.codebooks.shape[0])


def _probabilities(model: Model, x: Array, key: Array) -> tuple[Array, Array]:
    """The probabilities of each index of one row, and their entropies."""
    indices = factors(model.posterior(x))
    assert indices is not None
    logits = jax.nn.log_softmax(indices.logits, axis=-1)
    return jnp.exp(logits), -jnp.sum(jnp.exp(logits) * logits, axis=-1)
