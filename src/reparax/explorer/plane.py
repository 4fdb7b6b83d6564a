"""Maps of latent spaces: from codes to points of a plane, and back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from reparax.explorer.space import Ball, Space, Sphere

GOLDEN_RATIO = 0.6180339887
FULL = 1 - 1e-9


@dataclass(frozen=True)
class Plane(ABC):
    """A map.

    Attributes:
        axes: The names of both axes.
        note: What is shown, in a sentence.
        method: A word for how.
    """

    axes: tuple[str, str]
    note: str
    method: ClassVar[str]

    @abstractmethod
    def positions(self, codes: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n 2"]:
        """Where codes are."""

    @abstractmethod
    def place(self, position: Float[np.ndarray, " 2"], z: Float[np.ndarray, " k"] | None) -> Float[np.ndarray, " k"]:
        """A code at a point of the map, with everything that the map does not show as in z.

        Args:
            position: The point.
            z: A code; by default one of the middle of the data.
        """


@dataclass(frozen=True)
class Identity(Plane):
    """Codes of two numbers as they are."""

    method: ClassVar[str] = "latent"

    def positions(self, codes: np.ndarray) -> np.ndarray:
        return codes

    def place(self, position: np.ndarray, z: np.ndarray | None) -> np.ndarray:
        return position


@dataclass(frozen=True)
class Spread(Plane):
    """Codes of one number along the first axis; along the second they are spread, so that they hide each other less.

    Attributes:
        height: The length of the second axis.
    """

    height: float
    method: ClassVar[str] = "spread"

    def positions(self, codes: np.ndarray) -> np.ndarray:
        spread = np.modf(np.arange(len(codes)) * GOLDEN_RATIO)[0] * self.height
        return np.column_stack([codes[:, 0], spread if len(codes) > 1 else np.full(1, self.height / 2)])

    def place(self, position: np.ndarray, z: np.ndarray | None) -> np.ndarray:
        return position[:1]


@dataclass(frozen=True)
class Principal(Plane):
    """The first two principal components.

    Attributes:
        middle: The mean of the codes.
        directions: The directions of the two largest variances, orthonormal.
    """

    middle: Float[np.ndarray, " k"]
    directions: Float[np.ndarray, "2 k"]
    method: ClassVar[str] = "PCA"

    def positions(self, codes: np.ndarray) -> np.ndarray:
        return (codes - self.middle) @ self.directions.T

    def place(self, position: np.ndarray, z: np.ndarray | None) -> np.ndarray:
        start = self.middle if z is None else z
        return start + (position - self.positions(start[None])[0]) @ self.directions


@dataclass(frozen=True)
class OfBall(Plane):
    """The Poincare disk: of more dimensions, the two directions from the origin in which codes vary most.

    Attributes:
        directions: The two directions, orthonormal.
    """

    directions: Float[np.ndarray, "2 k"]
    method: ClassVar[str] = "Poincare disk"

    def positions(self, codes: np.ndarray) -> np.ndarray:
        ball = Ball()
        return ball.from_tangent(ball.tangent(codes) @ self.directions.T)

    def place(self, position: np.ndarray, z: np.ndarray | None) -> np.ndarray:
        ball = Ball()
        flat = ball.tangent(ball.onto(position))
        start = np.zeros(self.directions.shape[1]) if z is None else ball.tangent(ball.onto(z))
        return ball.from_tangent(start + (flat - start @ self.directions.T) @ self.directions)


@dataclass(frozen=True)
class OfSphere(Plane):
    """The sphere seen from far away: the two directions from its middle in which codes vary most.

    Attributes:
        directions: The two directions, orthonormal.
        behind: A unit vector across both, for points whose other numbers are not known.
    """

    directions: Float[np.ndarray, "2 k"]
    behind: Float[np.ndarray, " k"]
    method: ClassVar[str] = "sphere"

    def positions(self, codes: np.ndarray) -> np.ndarray:
        return codes @ self.directions.T

    def place(self, position: np.ndarray, z: np.ndarray | None) -> np.ndarray:
        point = position / max(1.0, float(np.linalg.norm(position)) / FULL)
        rest = self.behind if z is None else z - self.positions(z[None])[0] @ self.directions
        length = float(np.linalg.norm(rest))
        rest = rest / length if length > 1e-9 else self.behind
        return point @ self.directions + np.sqrt(max(0.0, 1 - point @ point)) * rest


@dataclass(frozen=True)
class Globe(Plane):
    """All of the sphere in three dimensions, equal areas as equal areas: Hammer's projection.

    x = 2 sqrt(2) cos(b) sin(l / 2) / d, y = sqrt(2) sin(b) / d, d = sqrt(1 + cos(b) cos(l / 2)), with latitude b and
    longitude l. Snyder (1987), "Map projections: a working manual", page 247.
    """

    method: ClassVar[str] = "sphere"

    def positions(self, codes: np.ndarray) -> np.ndarray:
        latitude = np.arcsin(np.clip(codes[:, 2], -1, 1))
        half = np.arctan2(codes[:, 1], codes[:, 0]) / 2
        depth = np.sqrt(1 + np.cos(latitude) * np.cos(half))
        return np.column_stack([
            2 * np.sqrt(2) * np.cos(latitude) * np.sin(half) / depth, np.sqrt(2) * np.sin(latitude) / depth
        ])  # fmt: skip

    def place(self, position: np.ndarray, z: np.ndarray | None) -> np.ndarray:
        x, y = position / np.asarray([2 * np.sqrt(2), np.sqrt(2)])
        outside = max(1.0, float(np.hypot(x, y)) / FULL)
        x, y = x / outside, y / outside
        # In these units, w^2 = 1 - (x^2 + y^2) / 2.
        w = np.sqrt(1 - (x * x + y * y) / 2)
        longitude = 2 * np.arctan2(np.sqrt(2) * w * x, 2 * w * w - 1)
        latitude = np.arcsin(np.clip(np.sqrt(2) * w * y, -1, 1))
        return np.asarray([
            np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)
        ])  # fmt: skip


def plane_of(space: Space, codes: Float[np.ndarray, "n k"]) -> Plane:
    """The map of a latent space.

    Args:
        space: The space.
        codes: The codes of the data.
    """
    size = codes.shape[1]
    if isinstance(space, Sphere) and size == 3:
        return Globe(("longitude", "latitude"), "The sphere of the codes, all of it: equal areas are equal areas.")
    if size == 1:
        words = "The codes have one dimension; the height of a point has no meaning."
        return Spread(("z1", "spread out for visibility"), words, float(0.3 * max(np.ptp(codes), 1e-3)))
    if size == 2:
        words = "The codes; the latent space has two dimensions."
        return Identity(("z1", "z2"), words if not isinstance(space, Ball) else "The codes, in the Poincare disk.")
    middle, directions, parts = _principal(space, codes)
    if isinstance(space, Ball):
        words = f"The two directions in the ball of {size} dimensions in which the codes vary most."
        return OfBall(("direction 1", "direction 2"), words, directions)
    if isinstance(space, Sphere):
        words = f"The two directions in the sphere of {size - 1} dimensions in which the codes vary most."
        behind = codes.mean(axis=0)
        behind = behind - behind @ directions.T @ directions
        if np.linalg.norm(behind) < 1e-9:
            behind = np.linalg.svd(directions)[2][-1]
        return OfSphere(("direction 1", "direction 2"), words, directions, behind / np.linalg.norm(behind))
    names = tuple(f"component {index + 1} ({100 * part:.0f} %)" for index, part in enumerate(parts))
    words = f"The first two principal components of the codes, which have {size} dimensions."
    return Principal((names[0], names[1]), f"{words} They explain {100 * sum(parts):.0f} % of the variance.", middle,
                     directions)  # fmt: skip


def _principal(space: Space, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """The middle, the two directions of the largest variance around it, and the fractions of the variance."""
    flat = space.tangent(codes).astype(np.float64)
    curved = isinstance(space, Ball | Sphere)
    middle = np.zeros(flat.shape[1]) if curved else flat.mean(axis=0)
    # The moments need far less memory than the rows.
    moments = (flat - middle).T @ (flat - middle) / len(flat)
    values, vectors = np.linalg.eigh(moments)
    directions = vectors[:, ::-1][:, :2].T
    directions = directions * np.where(directions[np.arange(2), np.abs(directions).argmax(axis=1)] < 0, -1, 1)[:, None]
    total = max(float(values.sum()), 1e-30)
    return middle, directions, (float(values[-1] / total), float(values[-2] / total))
