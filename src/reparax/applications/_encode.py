"""From data to latent variables and back."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from reparax.applications._door import contexts_of, dataset_of, in_context, some_of
from reparax.applications._form import by_name
from reparax.applications._mixture import over_members
from reparax.applications._rows import batch_size, batches, map_rows
from reparax.compiler import in_float32
from reparax.data import Dataset
from reparax.errors import DataError, RecipeError
from reparax.model import Model
from reparax.posteriors.codes import CodePosterior
from reparax.recipe import FittedModel
from reparax.tables import adapter_of

DRAWS = 64


def encode(fitted: FittedModel, data: Any, *, context: Any = None) -> Float[np.ndarray, "n latent"]:
    """The codes of examples, one flattened row for each: the posterior means E[z | x]; never a random draw.

    Posteriors without a mean in closed form document in their `code` what a code is: of a codebook, the indices, then
    the embedding that they stand for. If the model was trained on bits
    drawn from intensities, the encoder is given the intensities, which are the expectations of the bits.

    Args:
        fitted: The fitted model.
        data: Anything `reparax.data.read` reads, or a `Dataset`.
        context: For a conditional model, one row of numbers for each example.

    Raises:
        DataError: The data have another shape or kind than in the fit.
        RecipeError: An ensemble: the members' codes have no common meaning.
    """
    fitted.require_one("to encode with")
    return _apply(_mean, fitted, data, context)


def encode_std(fitted: FittedModel, data: Any, *, context: Any = None) -> Float[np.ndarray, "n latent"]:
    """The posterior standard deviations, laid out like the codes of `encode`.

    Raises:
        DataError: The data have another shape or kind than in the fit.
        RecipeError: The posterior is deterministic, or an ensemble.
        NoClosedForm: The standard deviation has no closed form.
    """
    fitted.require_one("to encode with")
    if not fitted.model.posterior.has_density:
        raise RecipeError(
            expected="a posterior with a standard deviation",
            got="the deterministic posterior",
            cure="leave --std out, or fit with --posterior diagonal-normal",
        )
    return _apply(_std, fitted, data, context)


def drawn_std(fitted: FittedModel, data: Any, *, context: Any = None) -> Float[np.ndarray, "n latent"]:
    """Estimates of `encode_std` from 64 draws for each row, for posteriors whose variance has no closed form.

    Raises:
        DataError: The data have another shape or kind than in the fit.
    """
    return _apply(_std_of_draws, fitted, data, context)


def reconstruct(fitted: FittedModel, data: Any, *, context: Any = None) -> Any:
    """E[x | z] at the posterior mean of z, in the user's units, in the shape of the data.

    Of several views, those of each by its name, also of views that an example lacks. Of an ensemble, the mean of the
    members' expectations; of a category, its probabilities are averaged, and the most probable one is given.

    Raises:
        DataError: The data have another shape or kind than in the fit.
    """
    return by_name(reconstructed(fitted, data, context=context))


def reconstructed(fitted: FittedModel, data: Any, *, context: Any = None) -> Dataset:
    """`reconstruct` as a dataset, with what is given of each example."""
    dataset = dataset_of(fitted, data, context)
    key, transform = jax.random.key(0), fitted.units.expected
    models = tuple(member.model for member in fitted.members)
    if len(models) == 1:
        rows = map_rows(_reconstruction, fitted, dataset, transform=transform, key=key)
    else:
        rows = map_rows(
            _mean_reconstruction, fitted, dataset, transform=transform, key=key, work=len(models), model=models
        )
    return replace(dataset, values=fitted.units.restored(rows))


def decode(fitted: FittedModel, codes: Float[np.ndarray, "n latent"], *, context: Any = None) -> Any:
    """E[x | z] at latent codes, in the user's units, in the shape of the data; of several views, each by its name.

    Args:
        fitted: The fitted model.
        codes: Latent variables, one flattened row for each example, as from `encode`; for codes of a codebook, the
            indices alone are enough.
        context: For a conditional model, one row of numbers for each example, or one row for all.

    Raises:
        DataError: The codes have the wrong shape, or are not finite.
        RecipeError: An ensemble.
    """
    fitted.require_one("to decode with")
    latent_shape = fitted.model.posterior.latent_shape
    expected, codes = math.prod(latent_shape), _with_embeddings(fitted.model, finite_codes(codes))
    if codes.ndim != 2 or codes.shape[1] != expected or not len(codes):
        raise DataError(
            expected=f"one row of {expected} latent numbers for each example", got=f"an array of shape {codes.shape}",
            cure="pass codes in the form that encode returns",
        )  # fmt: skip
    contexts = contexts_of(fitted, context, len(codes))
    pieces = [
        np.asarray(
            _decoded(fitted.model, jnp.asarray(codes[places]).reshape(-1, *latent_shape), some_of(contexts, places))
        )[:kept]
        for _, places, kept in batches(len(codes), batch_size(fitted))
    ]
    return by_name(Dataset(fitted.units.restored(np.concatenate(pieces)), fitted.schema))


def finite_codes(codes: Any) -> np.ndarray:
    """Codes in single precision.

    Raises:
        DataError: Some are not finite, or too large.
    """
    with np.errstate(over="ignore"):
        found = np.asarray(codes, np.float32)
    if not np.isfinite(found).all():
        rows = np.atleast_1d(found)
        row = int(np.argmin(np.isfinite(rows.reshape(len(rows), -1)).all(axis=1))) + 1
        raise DataError(
            # The most probable of categories whose probabilities are NaN would be the first.
            expected="finite codes", got=f"NaN or infinity in row {row}",
            cure="pass codes in the form that encode returns",
        )  # fmt: skip
    return found


def _with_embeddings(model: Model, codes: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n latent"]:
    """Codes of which only the indices are given, with what these stand for; any others unchanged.

    Raises:
        DataError: They are no indices of the codebook.
    """
    posterior = model.posterior
    if not isinstance(posterior, CodePosterior) or codes.ndim != 2 or codes.shape[1] != posterior.num_indices:
        return codes
    is_index = (codes == np.round(codes)) & (codes >= 0) & (codes < posterior.num_codes)
    if not is_index.all():
        raise DataError(
            expected=f"indices of codes, whole numbers from 0 to {posterior.num_codes - 1}",
            got=f"{codes[~is_index][0]:g}",
            cure="pass codes in the form that encode returns, or their first columns",
        )
    return np.asarray(_embedded(posterior, jnp.asarray(codes)))


@eqx.filter_jit
@in_float32
def _embedded(posterior: CodePosterior, indices: Array) -> Array:
    return jax.vmap(posterior.embedded)(indices)


@eqx.filter_jit
@in_float32
def _decoded(model: Model, codes: Array, contexts: Array | None) -> Array:
    return jax.vmap(lambda z, context: in_context(model, context).expected(z))(codes, contexts)


def _apply(
    function: Callable[[Model, Array, Array], Array], fitted: FittedModel, data: Any, context: Any
) -> np.ndarray:
    dataset = dataset_of(fitted, data, context)
    return map_rows(function, fitted, dataset, transform=fitted.units.expected, key=jax.random.key(0))


def _mean(model: Model, x: Array, key: Array) -> Array:
    return jnp.ravel(model.posterior.code(x))


def _std(model: Model, x: Array, key: Array) -> Array:
    return jnp.sqrt(jnp.ravel(model.posterior(x).variance))


def _std_of_draws(model: Model, x: Array, key: Array) -> Array:
    return jnp.ravel(jnp.std(model.posterior(x).sample(key, (DRAWS,)), axis=0))


def _reconstruction(model: Model, x: Array, key: Array) -> Array:
    return model.expected(model.posterior.code(x))


def _mean_reconstruction(models: Sequence[Model], x: Array, key: Array) -> Array:
    """The mean of the members' expectations; of a table, from averaged probabilities of categories."""
    adapter = adapter_of(models[0].likelihood)

    def expectations(model: Model) -> PyTree[Array]:
        code = model.posterior.code(x)
        if not adapter.is_table:
            return model.expected(code)
        return adapter.statistics(model.likelihood, code[None], jnp.zeros(1))

    mean = jax.tree.map(lambda of_all: jnp.mean(of_all, axis=0), over_members(models, expectations))
    return adapter.typical(mean) if adapter.is_table else mean
