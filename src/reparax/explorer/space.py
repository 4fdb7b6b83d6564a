"""The geometry of latent spaces: moving points onto them, distances, and the shortest paths between points."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

LEAST = 1e-6
"""How far points keep from the edge of a space, where densities may be infinite."""
EDGE = 1 - 1e-5
"""The largest norm of a point of the ball: beyond it, float32 no longer tells distances."""


@dataclass(frozen=True)
class Space(ABC):
    """A latent space; a point is a vector of numbers.

    Attributes:
        name: The name of the geometry, for the page.
        path: The name of the shortest path.
    """

    name: ClassVar[str]
    path_name: ClassVar[str]

    @abstractmethod
    def onto(self, z: Float[np.ndarray, "*n k"]) -> Float[np.ndarray, "*n k"]:
        """The points of the space that vectors stand for."""

    @abstractmethod
    def distances(self, z: Float[np.ndarray, " k"], others: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
        """The distances of a point to others."""

    @abstractmethod
    def path(
        self, start: Float[np.ndarray, " k"], end: Float[np.ndarray, " k"], steps: int
    ) -> Float[np.ndarray, "s k"]:
        """Points on the shortest path, evenly spaced, from the start to the end."""

    def tangent(self, z: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        """Points as vectors of a flat space, for principal components; the points themselves where it is flat."""
        return z


def _straight(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    along = np.linspace(0.0, 1.0, steps)[:, None]
    return (1 - along) * start + along * end


@dataclass(frozen=True)
class Flat(Space):
    """Vectors of numbers between bounds.

    Attributes:
        low: The least number.
        high: The greatest.
    """

    low: float = -1e6
    high: float = 1e6
    name: ClassVar[str] = "line"
    path_name: ClassVar[str] = "line"

    def onto(self, z: np.ndarray) -> np.ndarray:
        return np.clip(z, self.low, self.high)

    def distances(self, z: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.linalg.norm(others - z, axis=1)

    def path(self, start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
        return _straight(start, end, steps)


@dataclass(frozen=True)
class Simplex(Space):
    """Proportions, which are positive and sum to one."""

    name: ClassVar[str] = "line"
    path_name: ClassVar[str] = "line"

    def onto(self, z: np.ndarray) -> np.ndarray:
        positive = np.clip(z, 0.0, None)
        total = positive.sum(axis=-1, keepdims=True)
        even = 1 / z.shape[-1]
        proportions = np.maximum(np.where(total > 0, positive / np.where(total > 0, total, 1.0), even), LEAST)
        return proportions / proportions.sum(axis=-1, keepdims=True)

    def distances(self, z: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.linalg.norm(others - z, axis=1)

    def path(self, start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
        return _straight(start, end, steps)


@dataclass(frozen=True)
class Sphere(Space):
    """Unit vectors; distances are angles, and shortest paths are arcs of great circles."""

    name: ClassVar[str] = "sphere"
    path_name: ClassVar[str] = "great circle"

    def onto(self, z: np.ndarray) -> np.ndarray:
        length = np.linalg.norm(z, axis=-1, keepdims=True)
        first = np.zeros(z.shape[-1])
        first[0] = 1.0
        return np.where(length > LEAST, z / np.maximum(length, LEAST), first)

    def distances(self, z: np.ndarray, others: np.ndarray) -> np.ndarray:
        # Half the chord is the sine of half the angle, accurate for small angles too; nearly opposite points need its
        # complement.
        half = np.linalg.norm(others - z, axis=1) / 2
        rest = np.linalg.norm(others + z, axis=1) / 2
        return 2 * np.arctan2(half, rest)

    def path(self, start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
        across = end - (start @ end) * start
        length = float(np.linalg.norm(across))
        if length < LEAST:  # equal, or opposite: any great circle is shortest
            across = np.eye(len(start))[int(np.argmin(np.abs(start)))]
            across = across - (start @ across) * start
            length = float(np.linalg.norm(across))
        angles = np.linspace(0.0, float(self.distances(start, end[None])[0]), steps)[:, None]
        return np.cos(angles) * start + np.sin(angles) * (across / length)


@dataclass(frozen=True)
class Ball(Space):
    """The Poincare ball of curvature -1; distances are hyperbolic, and shortest paths are geodesics.

    Mathieu et al. (2019), "Continuous hierarchical representations with Poincare variational auto-encoders", section 2.
    """

    name: ClassVar[str] = "ball"
    path_name: ClassVar[str] = "geodesic"

    def onto(self, z: np.ndarray) -> np.ndarray:
        length = np.linalg.norm(z, axis=-1, keepdims=True)
        return np.where(length > EDGE, z * (EDGE / np.maximum(length, EDGE)), z)

    def distances(self, z: np.ndarray, others: np.ndarray) -> np.ndarray:
        away = np.linalg.norm(_moebius_add(-z[None], others), axis=1)
        return 2 * np.arctanh(np.minimum(away, 1 - 1e-15))

    def path(self, start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
        direction = _moebius_add(-start, end)
        length = float(np.linalg.norm(direction))
        if length < 1e-12:
            return np.repeat(start[None], steps, axis=0)
        reached = np.tanh(np.linspace(0.0, 1.0, steps)[:, None] * np.arctanh(min(length, 1 - 1e-15)))
        return _moebius_add(start[None], reached * (direction / length))

    def tangent(self, z: np.ndarray) -> np.ndarray:
        length = np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-12)
        return 2 * np.arctanh(np.minimum(length, EDGE)) * z / length

    def from_tangent(self, v: np.ndarray) -> np.ndarray:
        """The point at the distance and in the direction of a vector at the origin; the inverse of `tangent`."""
        length = np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)
        return np.tanh(length / 2) * v / length


def _moebius_add(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The hyperbolic translation of y by x."""
    xy, xx, yy = (np.sum(a * b, axis=-1, keepdims=True) for a, b in ((x, y), (x, x), (y, y)))
    return ((1 + 2 * xy + yy) * x + (1 - xx) * y) / (1 + 2 * xy + xx * yy)


@dataclass(frozen=True)
class Discrete(Space):
    """Vectors of bits, of counts, or of one-hot vectors; codes may lie between them, points are whole.

    Attributes:
        kind: The latent space of the posterior.
        shape: The shape of z; the last axis is that of one-hot vectors.
        num_classes: How many of the first numbers are a one-hot class, if numbers follow it.
    """

    kind: str
    shape: tuple[int, ...]
    num_classes: int = 0
    name: ClassVar[str] = "other"
    path_name: ClassVar[str] = "line"

    def onto(self, z: np.ndarray) -> np.ndarray:
        if self.kind == "binary":
            return (z > 0.5).astype(np.float64)
        if self.kind == "count":
            return np.rint(np.clip(z, 0, 1e6))
        if self.kind == "one-hot":
            grouped = z.reshape(*z.shape[:-1], *self.shape)
            return _one_hot(grouped).reshape(z.shape)
        first, rest = z[..., : self.num_classes], z[..., self.num_classes :]
        return np.concatenate([_one_hot(first), np.clip(rest, -1e6, 1e6)], axis=-1)

    def distances(self, z: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.linalg.norm(others - z, axis=1)

    def path(self, start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
        return self.onto(_straight(start, end, steps))


def _one_hot(z: np.ndarray) -> np.ndarray:
    return (np.arange(z.shape[-1]) == np.argmax(z, axis=-1)[..., None]).astype(np.float64)


def space_of(kind: str, shape: tuple[int, ...], num_classes: int = 0) -> Space:
    """The geometry of a latent space.

    Args:
        kind: The latent space of a posterior.
        shape: The shape of z.
        num_classes: As of `Discrete`.
    """
    simple: dict[str, Space] = {
        "real": Flat(), "positive": Flat(low=LEAST), "unit interval": Flat(LEAST, 1 - LEAST), "simplex": Simplex(),
        "sphere": Sphere(), "ball": Ball(),
    }  # fmt: skip
    return simple.get(kind) or Discrete(kind, shape, num_classes)
