"""Sections on images: reconstructions, samples, latent traversals, the least and the most typical images."""

import base64
import io

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array
from markupsafe import Markup

from reparax import applications
from reparax.compiler import in_float32
from reparax.data import Dataset, cell_text
from reparax.model import Model
from reparax.recipe import given_numbers
from reparax.reports.charts import nats
from reparax.reports.page import Beside, Block, Figure, Figures, Section, Text
from reparax.reports.study import Study, evenly

PAIRS = 24
SAMPLES = 40
STEPS = 11
RADIUS = 2.5
"""How far a traversal goes, in standard deviations of the codes."""
MAX_TRAVERSED = 8
TYPICAL = 8
ACROSS = 8
SMALLEST_TILE = 64
GAP = 0.1


def reconstructed_pictures(study: Study) -> Section:
    """Images and their reconstructions: an even selection, and those with the largest errors."""
    originals, reconstructions = _pixels(study, study.evaluated.values), _model_pixels(study, study.reconstructed)
    errors = ((originals - reconstructions) ** 2).mean(axis=tuple(range(1, originals.ndim)))
    count = min(PAIRS, len(originals))
    worst = np.argsort(-errors, kind="stable")[:count]
    words = f"Each image with its reconstruction on its right, from {study.evaluated_words}."
    figures = tuple(
        Figure(_pairs(originals[rows], reconstructions[rows], f"{title}: images and their reconstructions"), title)
        for title, rows in (("A selection", evenly(len(originals), count)), ("Largest errors", worst))
    )
    return Section("reconstruction", "Reconstructions", (Text(words), Figures(figures, "large")))


def _pairs(originals: np.ndarray, reconstructions: np.ndarray, alt: str) -> Markup:
    """Each image and its reconstruction side by side, with a narrow gap between them."""
    count, height, width, channels = originals.shape
    gap = np.full((count, height, max(1, width // 28), channels), np.nan)
    return _image(np.concatenate([originals, gap, reconstructions], axis=2), alt, ACROSS // 2)


def sampled_pictures(study: Study) -> Section:
    """New images."""
    key = jax.random.key(study.seed)
    means, draws = (
        in_order_of_given(draw(study.fitted, SAMPLES, key=key))
        for draw in (applications.means_dataset, applications.sample_dataset)
    )
    figures = (
        Figure(_image(_model_pixels(study, means), f"{SAMPLES} expected images", ACROSS), "Expected images",
               "E[x | z] for z drawn from the prior: smoother than samples."),
        Figure(_image(_model_pixels(study, draws), f"{SAMPLES} samples", ACROSS), "Samples",
               "Drawn from p(x | z) for z drawn from the prior: with the noise of the likelihood."),
    )  # fmt: skip
    given = ", ".join(column.name for column in study.given)
    words = f"What is given ({given}) is drawn as it occurs in the fit; images of which the same is given are together."
    text = (Text(words),) if given else ()
    return Section("samples", "New images", (*text, Figures(figures, "large")))


def in_order_of_given(drawn: Dataset) -> np.ndarray:
    """The values of new examples, those of which the same is given together."""
    if drawn.conditions is None:
        return drawn.values
    return drawn.values[np.lexsort(drawn.conditions.values.T[::-1])]


def traversals(study: Study) -> Section:
    """How images change along the most informative latent dimensions."""
    posterior = study.fitted.model.posterior
    if posterior.latent_space != "real" or len(posterior.latent_shape) != 1:
        words = f"Traversals need a latent space of real numbers; this one is {posterior.latent_space}."
        return Section("traversals", "Latent traversals", (Text(words),))
    codes = study.codes.astype(np.float64)
    values, _ = study.information
    # The layers of a hierarchy above the last one are not seen by the likelihood.
    seen = np.arange(codes.shape[1]) >= codes.shape[1] - posterior.num_decoded
    chosen = np.argsort(-np.where(seen, values, -np.inf), kind="stable")[: min(MAX_TRAVERSED, int(seen.sum()))]
    middle, spread = codes.mean(axis=0), codes.std(axis=0)
    if study.has_density:
        spread = np.sqrt(spread**2 + (applications.posterior_std(study.first, study.mapped) ** 2).mean(axis=0))
    walk = np.linspace(-RADIUS, RADIUS, STEPS)
    z = np.repeat(middle[None], len(chosen) * STEPS, axis=0)
    for row, dimension in enumerate(chosen.tolist()):
        z[row * STEPS : (row + 1) * STEPS, dimension] += walk * spread[dimension]
    common = study.most_common_given
    context = None if common is None else jax.numpy.asarray(given_numbers(common.schema, common.values)[0])
    images = np.asarray(_decoded(study.fitted.model, jax.numpy.asarray(z, jax.numpy.float32), context))
    mosaic = _image(
        _model_pixels(study, study.fitted.units.restored(images)), "latent traversals, one dimension in a row", STEPS
    )
    named = ", ".join(str(dimension + 1) for dimension in chosen.tolist())
    words = (
        f"Each row varies one latent dimension from \u2212{RADIUS:g} to {RADIUS:g} standard deviations of the codes of "
        "the data, with the others at their mean. Shown are the dimensions that carry the most information, from top "
        f"to bottom: {named}.{_given_words(study, common)}"
    )
    return Section("traversals", "Latent traversals", (Beside(Figures((Figure(mosaic),), "large"), (Text(words),)),))


@eqx.filter_jit
@in_float32
def _decoded(model: Model, z: Array, context: Array | None) -> Array:
    return jax.vmap((model if context is None else model.given(context)).expected)(z)


def _given_words(study: Study, common: Dataset | None) -> str:
    """What is given of the images of a traversal."""
    if common is None:
        return ""
    said = ", ".join(
        f"{column.name} {cell_text(column, float(value))}"
        for column, value in zip(study.given, common.values[0], strict=True)
    )
    return f" Given is {said}, the most common in the fit."


def typical_pictures(study: Study) -> Section:
    """The images with the highest and the lowest anomaly scores."""
    numbers, results = study.scored
    order = np.argsort(-results.anomaly_score, kind="stable")
    count = min(TYPICAL, max(1, len(order) // 2))
    blocks: list[Block] = [
        Text(
            f"The {count} images with the highest anomaly scores, and the {count} with the lowest, of "
            f"{len(order):,}. The score is minus the log density. Plain images have high densities, so a low score "
            "does not mean a good image."
        )
    ]
    for title, places in (("Least typical", order[:count]), ("Most typical", order[::-1][:count])):
        figures = []
        for place in places.tolist():
            row = int(numbers[place])
            name = f"image {row + 1:,}" if study.dataset.ids is None else str(study.dataset.ids[row])
            image = _image(_pixels(study, study.dataset.values[row][None]), f"{title.lower()}: {name}", 1)
            figures.append(Figure(image, "", f"{name}, {nats(float(results.anomaly_score[place]))}"))
        blocks.append(Figures(tuple(figures), "tiny", title))
    return Section("anomalies", "Least and most typical", tuple(blocks))


def _pixels(study: Study, values: np.ndarray) -> np.ndarray:
    """Values of the data as pixels between 0 and 1."""
    low, high = float(np.min(study.fitted.schema.low)), float(np.max(study.fitted.schema.high))
    return (values.astype(np.float64) - low) / (high - low if high > low else 1.0)


def _model_pixels(study: Study, values: np.ndarray) -> np.ndarray:
    """Values of the model as pixels between 0 and 1; binarized ones are that already."""
    return values.astype(np.float64) if study.fitted.binarize != "none" else _pixels(study, values)


def _image(images: np.ndarray, alt: str, columns: int) -> Markup:
    """Images in rows, as one image embedded in the page."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(_mosaic(images, columns)).save(stream, format="PNG", optimize=True)
    source = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Markup("<img src='{}' alt='{}'>").format(source, alt)


def _mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """Images enlarged to a visible size; gaps and NaN are transparent: uint8, shape (height, width, 4)."""
    scale = -(-SMALLEST_TILE // max(images.shape[1:3]))
    finite = np.isfinite(images).all(axis=-1, keepdims=True)
    levels = np.rint(255 * np.clip(np.where(finite, images, 0.0), 0, 1)).astype(np.uint8)
    colors = levels.repeat(3, axis=-1) if levels.shape[-1] == 1 else levels[..., :3]
    pixels = np.concatenate([colors, np.where(finite, 255, 0).astype(np.uint8)], axis=-1)
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    count, height, width, _ = pixels.shape
    gap = max(2, round(GAP * height))
    down, columns = -(-count // columns), min(count, columns)
    tiles = np.zeros((down * columns, height + gap, width + gap, 4), np.uint8)
    tiles[:count, :height, :width] = pixels
    rows = tiles.reshape(down, columns, height + gap, width + gap, 4).transpose(0, 2, 1, 3, 4)
    return rows.reshape(down * (height + gap), columns * (width + gap), 4)[:-gap, :-gap]
