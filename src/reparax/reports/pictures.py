"""Images: originals beside reconstructions, samples, traversals, the most and the least typical."""

import base64
import io

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array
from markupsafe import Markup

from reparax import applications
from reparax.model import Model
from reparax.reports.charts import nats
from reparax.reports.page import Beside, Block, Figure, Figures, Section, Text
from reparax.reports.study import Study, evenly

PAIRS = 24
SAMPLES = 40
STEPS = 11
REACH = 2.5
MOST_TRAVERSED = 8
TYPICAL = 8
ACROSS = 8
SMALLEST_TILE = 64
GAP = 0.1


def reconstructed_pictures(study: Study) -> Section:
    """Originals beside their reconstructions: some of them, and those that come back worst."""
    originals, found = _given(study, study.evaluated.values), _made(study, study.reconstructed)
    errors = ((originals - found) ** 2).mean(axis=tuple(range(1, originals.ndim)))
    count = min(PAIRS, len(originals))
    worst = np.argsort(-errors, kind="stable")[:count]
    words = f"Each image with its reconstruction to its right, of {study.evaluated_words}."
    figures = tuple(
        Figure(_pairs(originals[rows], found[rows], f"{title}: each image beside its reconstruction"), title)
        for title, rows in (("Some of them", evenly(len(originals), count)), ("Those that come back worst", worst))
    )
    return Section("reconstruction", "Reconstructions", (Text(words), Figures(figures, "large")))


def _pairs(originals: np.ndarray, found: np.ndarray, words: str) -> Markup:
    """Each image and its reconstruction as one, with a narrow gap between."""
    count, height, width, channels = originals.shape
    gap = np.full((count, height, max(1, width // 28), channels), np.nan)
    return _image(np.concatenate([originals, gap, found], axis=2), words, ACROSS // 2)


def sampled_pictures(study: Study) -> Section:
    """New images."""
    key = jax.random.key(study.seed)
    means = applications.sample_means(study.fitted, SAMPLES, key=key)
    draws = applications.sample_values(study.fitted, SAMPLES, key=key)
    figures = (
        Figure(_image(_made(study, means), f"{SAMPLES} expected images", ACROSS), "Expected images",
               "E[x | z] at z drawn from the prior: smoother than samples."),
        Figure(_image(_made(study, draws), f"{SAMPLES} samples", ACROSS), "Samples",
               "Drawn from p(x | z) at z drawn from the prior: with the noise that the likelihood has."),
    )  # fmt: skip
    return Section("samples", "New images", (Figures(figures, "large"),))


def traversals(study: Study) -> Section:
    """What each of the most active latent dimensions changes."""
    posterior = study.fitted.model.posterior
    if posterior.latent_space != "real" or len(posterior.latent_shape) != 1:
        words = (
            f"The latent space is no space of real numbers ({posterior.latent_space}); no dimension is walked along."
        )
        return Section("traversals", "Along the latent dimensions", (Text(words),))
    codes = study.codes.astype(np.float64)
    values, _ = study.information
    chosen = np.argsort(-values, kind="stable")[:MOST_TRAVERSED]
    middle, spread = codes.mean(axis=0), codes.std(axis=0)
    if study.has_density:
        spread = np.sqrt(spread**2 + (applications.encode_std(study.fitted, study.mapped) ** 2).mean(axis=0))
    walk = np.linspace(-REACH, REACH, STEPS)
    z = np.repeat(middle[None], len(chosen) * STEPS, axis=0)
    for row, dimension in enumerate(chosen.tolist()):
        z[row * STEPS : (row + 1) * STEPS, dimension] += walk * spread[dimension]
    images = np.asarray(_decoded(study.fitted.model, jax.numpy.asarray(z, jax.numpy.float32)))
    drawn = _image(
        _made(study, study.fitted.units.restored(images)), "images along latent dimensions, one in a row", STEPS
    )
    named = ", ".join(str(dimension + 1) for dimension in chosen.tolist())
    words = (
        f"Each row walks along one latent dimension from -{REACH:g} to {REACH:g} standard deviations of the "
        f"data's codes, the others at their mean; the {len(chosen)} dimensions that carry most, from above: {named}."
    ).replace("-2.5", "\u22122.5")
    return Section(
        "traversals", "Along the latent dimensions", (Beside(Figures((Figure(drawn),), "large"), (Text(words),)),)
    )


@eqx.filter_jit
def _decoded(model: Model, z: Array) -> Array:
    return jax.vmap(model.expected)(z)


def typical_pictures(study: Study) -> Section:
    """The images that the model finds least and most odd."""
    numbers, found = study.scored
    order = np.argsort(-found.anomaly_score, kind="stable")
    count = min(TYPICAL, max(1, len(order) // 2))
    blocks: list[Block] = [
        Text(
            f"The {count} images with the highest anomaly scores, and the {count} with the lowest, of "
            f"{len(order):,}. The score is minus the log density; plain images have high densities, so that a "
            "low score is not beauty."
        )
    ]
    for title, places in (("Least typical", order[:count]), ("Most typical", order[::-1][:count])):
        figures = []
        for place in places.tolist():
            row = int(numbers[place])
            name = f"image {row + 1:,}" if study.dataset.ids is None else str(study.dataset.ids[row])
            drawn = _image(_given(study, study.dataset.values[row][None]), f"{title.lower()}: {name}", 1)
            figures.append(Figure(drawn, "", f"{name}, {nats(float(found.anomaly_score[place]))}"))
        blocks.append(Figures(tuple(figures), "tiny", title))
    return Section("anomalies", "Least and most typical", tuple(blocks))


def _given(study: Study, values: np.ndarray) -> np.ndarray:
    """Pixels of the data between 0 and 1."""
    low, high = float(np.min(study.fitted.schema.low)), float(np.max(study.fitted.schema.high))
    return (values.astype(np.float64) - low) / (high - low if high > low else 1.0)


def _made(study: Study, values: np.ndarray) -> np.ndarray:
    """Pixels of the model between 0 and 1; bits are so already."""
    return values.astype(np.float64) if study.fitted.binarize != "none" else _given(study, values)


def _image(images: np.ndarray, words: str, columns: int) -> Markup:
    """Images in rows, as one that is part of the page."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(_mosaic(images, columns)).save(stream, format="PNG", optimize=True)
    source = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Markup("<img src='{}' alt='{}'>").format(source, words)


def _mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """Images enlarged to be seen; the page shines through gaps and NaN: uint8, shape (height, width, 4)."""
    scale = -(-SMALLEST_TILE // max(images.shape[1:3]))
    there = np.isfinite(images).all(axis=-1, keepdims=True)
    levels = np.rint(255 * np.clip(np.where(there, images, 0.0), 0, 1)).astype(np.uint8)
    colors = levels.repeat(3, axis=-1) if levels.shape[-1] == 1 else levels[..., :3]
    pixels = np.concatenate([colors, np.where(there, 255, 0).astype(np.uint8)], axis=-1)
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    count, height, width, _ = pixels.shape
    gap = max(2, round(GAP * height))
    down, columns = -(-count // columns), min(count, columns)
    tiles = np.zeros((down * columns, height + gap, width + gap, 4), np.uint8)
    tiles[:count, :height, :width] = pixels
    rows = tiles.reshape(down, columns, height + gap, width + gap, 4).transpose(0, 2, 1, 3, 4)
    return rows.reshape(down * (height + gap), columns * (width + gap), 4)[:-gap, :-gap]
