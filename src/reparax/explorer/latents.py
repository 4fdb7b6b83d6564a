"""The latent dimensions as a page lists them: ranges of sliders, and how much each one says of the data."""

from typing import Any

import numpy as np
from jaxtyping import Float

from reparax.applications import ACTIVE_VARIANCE
from reparax.explorer.space import Ball, Discrete, Flat, Simplex, Space, Sphere
from reparax.explorer.subject import Subject

KINDS = {
    "real": "real", "positive": "positive", "unit interval": "unit", "simplex": "unit", "sphere": "sphere",
    "ball": "ball", "binary": "binary", "one-hot": "one-hot", "count": "count",
}  # fmt: skip
LEAST_SPREAD = 1e-4
WIDTH = 4.0
"""Half the range of a slider, in standard deviations of the codes."""


def latents_of(subject: Subject) -> list[dict[str, Any]]:
    """A description of each latent dimension, in the order of codes.

    Args:
        subject: The model and its data.
    """
    codes, posterior = subject.some_codes, subject.model.posterior
    kl = _for_each(subject.information, codes.shape[1])
    layers = [(start, end) for start, end in posterior.layer_slices]
    first_decoded = codes.shape[1] - posterior.num_decoded
    low, high = ranges(subject.space, codes)
    middle = subject.space.onto(codes.mean(axis=0)) if not isinstance(subject.space, Discrete) else codes.mean(axis=0)
    flat = isinstance(subject.space, Flat) and posterior.latent_space == "real"
    moves = codes.var(axis=0) > (ACTIVE_VARIANCE if flat else LEAST_SPREAD)
    result = []
    for index in range(codes.shape[1]):
        entry: dict[str, Any] = {
            "index": index, "name": f"z{index + 1}", "kl": None if kl is None else float(kl[index]),
            "dead": not (moves[index] and index >= first_decoded), "low": float(low[index]),
            "high": float(high[index]), "mean": float(middle[index]), "kind": _kind(subject, index),
        }  # fmt: skip
        if entry["kind"] == "one-hot":
            width = _width(subject)
            entry |= {"name": f"z{index // width + 1} = {index % width + 1}", "group": index // width}
        if len(layers) > 1:
            entry["layer"] = next(number for number, (start, end) in enumerate(layers) if start <= index < end)
        result.append(entry)
    return result


def _for_each(information: tuple[Float[np.ndarray, " k"], bool] | None, size: int) -> Float[np.ndarray, " k"] | None:
    """The information of each number of a code; several numbers may share one, such as those of a one-hot vector."""
    if information is None or size % max(len(information[0]), 1):
        return None
    return np.repeat(information[0], size // len(information[0]))


def _kind(subject: Subject, index: int) -> str:
    kind = subject.model.posterior.latent_space
    if kind == "class and real":
        return "one-hot" if index < _width(subject) else "real"
    return KINDS[kind]


def _width(subject: Subject) -> int:
    """How many numbers a one-hot vector has."""
    posterior = subject.model.posterior
    return getattr(posterior, "num_classes", 0) or posterior.latent_shape[-1]


def ranges(space: Space, codes: Float[np.ndarray, "n k"]) -> tuple[np.ndarray, np.ndarray]:
    """Where sliders begin and end.

    Args:
        space: The latent space.
        codes: Codes of the data.
    """
    size = codes.shape[1]
    if isinstance(space, Sphere | Ball):
        return np.full(size, -1.0), np.ones(size)
    if isinstance(space, Simplex):
        return np.zeros(size), np.ones(size)
    if isinstance(space, Discrete) and space.kind != "class and real":
        return np.zeros(size), np.maximum(1.0, np.ceil(codes.max(axis=0)))
    middle, spread = codes.mean(axis=0), np.maximum(codes.std(axis=0), 1e-3)
    least = getattr(space, "low", -1e6)
    wide = np.maximum(WIDTH * spread, 1.0 if least < 0 else 0.0)
    low, high = space.onto(middle - wide), space.onto(middle + wide)
    if isinstance(space, Discrete):
        low[: space.num_classes], high[: space.num_classes] = 0.0, 1.0
    return low, high
