"""Questions about rows: why one is odd, and examples that the model draws."""

import base64
import io
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from reparax import applications
from reparax.data import Dataset, cell_text, dense, joint_values, to_frame
from reparax.errors import DataError
from reparax.estimators import sample_with_log_prob
from reparax.explorer.cells import log_prob_of_cells
from reparax.explorer.frames import Answer
from reparax.explorer.messages import Explain, Export, Sample
from reparax.explorer.scores import SAMPLES, SEED, Scoring
from reparax.explorer.subject import Subject
from reparax.explorer.things import Things, rows_of, shown_columns
from reparax.explorer.whatif import AT_ONCE
from reparax.model import Model

SURPRISE_DRAWS = 32


class Ask:
    """Answers to questions about rows.

    Args:
        subject: The model and its data.
        things: Shows examples.
        scoring: Scores rows.
    """

    def __init__(self, subject: Subject, things: Things, scoring: Scoring) -> None:
        self.subject, self.things, self.scoring = subject, things, scoring

    def explain(self, message: Explain) -> Answer:
        """The anomaly score of a row, and where it comes from."""
        data = self.subject.row(message.index)
        scores = applications.score(self.subject.fitted, data, num_samples=SAMPLES, seed=SEED, at_once=AT_ONCE)
        value = float(scores.anomaly_score[0])
        self.scoring.is_wanted.set()
        fields: dict[str, Any] = {"score": value, "percentile": self.scoring.percentile(value)}
        if scores.shares is None:
            surprise = self._surprise(data)
            return Answer({**fields, "unit": "nats"}, {} if surprise is None else {"map": surprise})
        cells = np.asarray(data.values, np.float64)[0]
        columns = self.subject.fitted.schema.columns or ()
        fields["shares"] = [
            {"column": column.name, "share": share, "text": cell_text(column, float(cell))}
            for column, share, cell in zip(columns, scores.shares[0].tolist(), cells, strict=True)
        ]
        return Answer(fields)

    def _surprise(self, data: Dataset) -> Float[np.ndarray, "..."] | None:
        """-log p(x_d | z) of each value, averaged over z given the example; None if values have no densities."""
        if not self.things.has_densities:
            return None
        units = self.subject.first.units
        context = None if data.context is None else np.asarray(data.context[0], np.float32)
        x = np.asarray(dense(units.stored(data.values))[0])
        surprise = self.subject.programs(_Surprise(units.transform), context, x)
        return surprise.sum(axis=-1) if self.things.kind == "image" else np.ravel(surprise)

    def sample(self, message: Sample) -> Answer:
        """Examples drawn from the model."""
        where = applications.conditions_of(self.subject.fitted, message.where)
        draw = applications.means_dataset if message.means else applications.sample_dataset
        drawn = draw(self.subject.fitted, message.n, key=jax.random.key(message.seed), where=where)
        notes = [*applications.notes_on_where(self.subject.fitted, where), *drawn.notes]
        answer = shown_examples(self.things, drawn, of_model=True)
        return Answer({**answer.fields, "notes": notes}, answer.arrays)

    def export(self, message: Export) -> Answer:
        """Some rows as a file: a table with all columns of the data, or an array."""
        dataset = self.subject.dataset
        count = 0 if dataset is None else len(dataset)
        wrong = next((row for row in message.rows if row >= count), None)
        if dataset is None or wrong is not None:
            raise DataError(expected=f"rows from 0 to {count - 1}", got=f"row {wrong}", cure="choose others")
        places = np.asarray(message.rows)
        if self.things.kind != "row":
            stream = io.BytesIO()
            np.save(stream, np.ascontiguousarray(dense(dataset.values[places])), allow_pickle=False)
            text = base64.b64encode(stream.getvalue()).decode()
            return Answer({"name": "selected.npy", "text": text, "binary": True})
        return Answer({"name": "selected.csv", "text": _table(dataset, places), "binary": False})


def shown_examples(things: Things, data: Dataset, *, of_model: bool) -> Answer:
    """Examples side by side.

    Args:
        things: Shows them.
        data: The examples.
        of_model: Whether they come from the model, whose binarized images are bits.
    """
    if things.kind != "row":
        return things.of_values(dense(data.values), of_model=of_model)
    return Answer({"kind": "row", **rows_of(np.asarray(joint_values(data)), shown_columns(things.schema))})


def _table(dataset: Dataset, places: np.ndarray) -> str:
    """Rows as CSV, as they were given if possible, with columns that are not modeled."""
    import narwhals as nw

    if dataset.native is not None and not isinstance(dataset.native, np.ndarray):
        frame = nw.from_native(dataset.native, eager_only=True)[places.tolist(), :].to_polars()
    else:
        some = dataset.take(places)
        frame = to_frame(np.asarray(joint_values(some)), dataset.schema.joint, like="polars")
    return frame.write_csv()


class _Surprise(eqx.Module):
    """-log p(x_d | z) of each value of an example, averaged over importance-weighted draws of z.

    Attributes:
        transform: From a stored example to what the model sees.
    """

    transform: Any = eqx.field(static=True)

    def __call__(self, model: Model, context: Array | None, x: Array) -> Array:
        plain = model if context is None else model.given(context)
        for_x, for_z = jax.random.split(jax.random.key(SEED))
        seen = self.transform(x, for_x)
        posterior = plain.posterior(seen)
        if not plain.posterior.has_density:
            return -log_prob_of_cells(plain.likelihood(plain.posterior.code(seen)), seen)
        z, log_q = sample_with_log_prob(posterior, for_z, (SURPRISE_DRAWS,))
        prior = plain.prior(plain.posterior)
        of_values = jax.vmap(lambda one: log_prob_of_cells(plain.likelihood(one), seen))(z)
        log_p = jax.vmap(prior.log_prob)(z) - log_q + jnp.sum(of_values.reshape(len(z), -1), axis=1)
        return -jnp.tensordot(jax.nn.softmax(log_p), of_values, axes=1)
