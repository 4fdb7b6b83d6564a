"""Moving in the latent space: what the model makes of a point, of a series of points, and of a way between two."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from reparax.errors import DataError
from reparax.explorer.frames import Answer
from reparax.explorer.latents import ranges
from reparax.explorer.messages import Decode, Nearest, Path, Place, Strip
from reparax.explorer.subject import Subject
from reparax.explorer.things import Things
from reparax.model import Model


class Move:
    """Answers to moves.

    Args:
        subject: The model and its data.
        things: Shows examples.
    """

    def __init__(self, subject: Subject, things: Things) -> None:
        self.subject, self.things = subject, things

    def decode(self, message: Decode) -> Answer:
        """What the model makes of a latent vector, the vector that was taken for it, and where it is on the map."""
        subject = self.subject
        z = subject.point(message.z)
        answer = self.things.decoded(z, message.given)
        fields: dict[str, Any] = {**answer.fields, "z": z.tolist(), "log_prior": self._log_prior(z, message)}
        if subject.dataset is not None:
            fields["position"] = subject.plane.positions(z[None])[0].tolist()
        return Answer(fields, answer.arrays)

    def _log_prior(self, z: Float[np.ndarray, " k"], message: Decode) -> float | None:
        if not self.subject.model.posterior.has_density:
            return None
        shaped = np.asarray(z, np.float32).reshape(self.subject.model.posterior.latent_shape)
        return float(self.subject.programs(_log_prior, self.subject.context(message.given), shaped))

    def place(self, message: Place) -> Answer:
        """The latent vector at a point of the map."""
        if self.subject.dataset is None:
            raise DataError(expected="data, to have a map", got="none", cure="name data: reparax explore MODEL DATA")
        position = np.asarray(message.position, np.float64)
        if not np.isfinite(position).all() or np.abs(position).max() > 1e6:
            raise DataError(expected="a point of the map", got="a point far away", cure="choose a point on the map")
        current = None if message.z is None else self.subject.point(message.z)
        z = self.subject.space.onto(self.subject.plane.place(position, current))
        return Answer({"z": z.tolist()})

    def strip(self, message: Strip) -> Answer:
        """What the model makes of vectors that differ in one dimension."""
        subject = self.subject
        z = subject.point(message.z)
        if message.dim >= len(z):
            raise DataError(expected=f"a dimension from 0 to {len(z) - 1}", got=f"{message.dim}", cure="choose another")
        low, high = ranges(subject.space, subject.some_codes)
        values = np.linspace(low[message.dim], high[message.dim], message.steps)
        points = np.repeat(z[None], message.steps, axis=0)
        points[:, message.dim] = values
        points = subject.space.onto(points)
        answer = self.things.series(points, message.given)
        return Answer({**answer.fields, "values": values.tolist(), "z": points.tolist()}, answer.arrays)

    def path(self, message: Path) -> Answer:
        """What the model makes of the points on the shortest path between two others."""
        subject = self.subject
        start, end = (self._point(each) for each in (message.start, message.end))
        points = subject.space.onto(subject.space.path(start, end, message.steps))
        answer = self.things.series(points, message.given)
        fields = {
            **answer.fields, "kind_of_path": subject.space.path_name, "z": points.tolist(),
            "length": float(subject.space.distances(start, end[None])[0]),
        }  # fmt: skip
        if subject.dataset is not None:
            fields["positions"] = subject.plane.positions(points).tolist()
        return Answer(fields, answer.arrays)

    def _point(self, point: int | list[float]) -> Float[np.ndarray, " k"]:
        """The code of a row, moved onto the space, or a latent vector."""
        if isinstance(point, list):
            return self.subject.point(point)
        self.subject.row(point)  # refuses rows that do not exist
        return self.subject.space.onto(self.subject.codes[point].astype(np.float64))

    def nearest(self, message: Nearest) -> Answer:
        """The rows whose codes are nearest."""
        subject = self.subject
        if (message.index is None) == (message.z is None):
            raise DataError(expected="either an index or z", got="both or neither", cure="send one of them")
        if message.index is not None:
            subject.row(message.index)
            z = subject.codes[message.index].astype(np.float64)
        else:
            z = subject.point(message.z)
        distances = subject.space.distances(z, subject.codes.astype(np.float64))
        if message.index is not None:
            distances[message.index] = np.inf
        count = min(message.k, int(np.isfinite(distances).sum()))
        nearest = np.argpartition(distances, range(count))[:count] if count else np.zeros(0, int)
        return Answer({
            "rows": [{"index": int(row), "distance": float(distances[row])} for row in nearest]
        })  # fmt: skip


def _log_prior(model: Model, context: Array | None, z: Array) -> Array:
    plain = model if context is None else model.given(context)
    return jnp.asarray(plain.prior(plain.posterior).log_prob(jax.numpy.asarray(z)), jnp.float32)
