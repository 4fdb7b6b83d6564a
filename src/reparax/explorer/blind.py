"""A blind test: which of these examples is real? The user's answers beside those of a classifier."""

import secrets
import threading
from collections import OrderedDict
from functools import cached_property
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from reparax import applications
from reparax.data import Dataset, dense, joint_values
from reparax.errors import DataError
from reparax.explorer.ask import shown_examples
from reparax.explorer.frames import Answer
from reparax.explorer.messages import Blind, Reveal
from reparax.explorer.subject import Subject
from reparax.explorer.things import Things

MOST_GAMES = 256
MOST_LEARNED = 2000
MOST_JUDGED = 500
MOST_NUMBERS = 400_000
"""Numbers that the classifier learns from, of each kind."""
FEWEST = 20
"""Real rows, below which a classifier says nothing."""


class Game(NamedTuple):
    """Examples of which some are real.

    Attributes:
        truth: Which are.
        values: The examples, one row of numbers for each.
    """

    truth: Bool[np.ndarray, " n"]
    values: Float[np.ndarray, "n d"]


class BlindTest:
    """Games, and the classifier that plays them too.

    Args:
        subject: The model and its data.
        things: Shows examples.
    """

    def __init__(self, subject: Subject, things: Things) -> None:
        self.subject, self.things = subject, things
        self._games: OrderedDict[str, Game] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def _real(self) -> tuple[Dataset, bool]:
        """Real rows in random order, if possible such as were held out of the fit, and whether they are."""
        dataset = self.subject.dataset
        assert dataset is not None
        rest = applications.held_out_of(self.subject.fitted, dataset)
        rows = dataset if rest is None or len(rest) < FEWEST else rest
        return rows.take(np.random.default_rng(0).permutation(len(rows))), rows is rest

    def blind(self, message: Blind) -> Answer:
        """Real and drawn examples in mixed order."""
        rng = np.random.default_rng([message.seed, 1])
        rows, _ = self._real
        truth = rng.random(message.num) < 0.5
        places = rng.choice(len(rows), int(truth.sum()), replace=len(rows) < truth.sum())
        key = jax.random.fold_in(jax.random.key(message.seed), 2)
        drawn = applications.sample_dataset(self.subject.fitted, message.num, key=key)
        real = self._as_drawn(rows.take(places)) if len(places) else None
        items = _mixed(drawn, real, truth)
        name = secrets.token_hex(8)
        with self._lock:
            self._games[name] = Game(truth, self._numbers(items))
            while len(self._games) > MOST_GAMES:
                self._games.popitem(last=False)
        answer = shown_examples(self.things, items, of_model=True)
        return Answer({**answer.fields, "game": name, "num": message.num}, answer.arrays)

    def answer(self, message: Reveal) -> Answer:
        """The truth, how often the user was right, and how often a classifier was."""
        with self._lock:
            game = self._games.get(message.game)
        if game is None:
            raise DataError(expected="a game that was begun", got="another or an old one", cure="begin a new one")
        if len(message.answers) != len(game.truth):
            raise DataError(
                expected=f"{len(game.truth)} answers", got=f"{len(message.answers)}", cure="answer for each example"
            )
        with self._lock:
            self._games.pop(message.game, None)
        right = int((np.asarray(message.answers) == game.truth).sum())
        return Answer({
            "truth": game.truth.tolist(), "right": right, "num": len(game.truth), "classifier": self._played(game)
        })  # fmt: skip

    def _played(self, game: Game) -> dict[str, object]:
        learned = self._classifier
        if learned is None:
            return {"accuracy": None, "note": f"with fewer than {FEWEST} real rows there is none"}
        classifier, area, words = learned
        taken = classifier.score(game.values) > 0
        return {
            "accuracy": float((taken == game.truth).mean()), "right": int((taken == game.truth).sum()),
            "area": area.value, "low": area.low, "high": area.high, "note": words,
        }  # fmt: skip

    @cached_property
    def _classifier(self) -> tuple[applications.RowClassifier, applications.Measured, str] | None:
        """The classifier, the area under its ROC curve on other rows, and a sentence on both."""
        rows, held_out = self._real
        if len(rows) < FEWEST:
            return None
        size = int(np.prod(self.things.schema.event_shape, dtype=int))
        most = max(FEWEST, min(MOST_LEARNED, MOST_NUMBERS // size))
        count = min(most, len(rows) * 2 // 3)
        judged = min(MOST_JUDGED, len(rows) - count)
        real = self._numbers(self._as_drawn(rows.take(np.arange(count + judged))))
        drawn = applications.sample_dataset(self.subject.fitted, count + judged, key=jax.random.key(3))
        made = self._numbers(drawn)
        columns = self.subject.fitted.schema.joint.columns if self.things.kind == "row" else None
        is_real = np.arange(2 * count) < count
        classifier = applications.RowClassifier(np.concatenate([real[:count], made[:count]]), is_real, columns, 0)
        area = applications.separation(classifier.score(real[count:]), classifier.score(made[count:]))
        words = (
            f"A gradient-boosted classifier that has seen {count:,} real and {count:,} drawn examples. On {judged:,} "
            f"others of each kind the area under its ROC curve is {area.value:.2f} ({area.low:.2f} to {area.high:.2f}; "
            f"0.5 if nothing tells them apart). The real examples were {'' if held_out else 'not '}held out of the fit."
        )
        return classifier, area, words

    def _as_drawn(self, data: Dataset) -> Dataset:
        """Real examples in the form of drawn ones: images of bits as bits."""
        units = self.subject.fitted.units
        if units.binarize == "none":
            return Dataset(dense(data.values), data.schema, conditions=data.conditions)
        keys = jax.random.split(jax.random.key(4), len(data))
        bits = jax.vmap(units.transform)(jax.numpy.asarray(units.stored(data.values)), keys)
        return Dataset(np.asarray(bits), data.schema, conditions=data.conditions)

    def _numbers(self, data: Dataset) -> Float[np.ndarray, "n d"]:
        """One row of numbers for each example."""
        if self.things.kind == "row":
            columns = self.subject.fitted.schema.joint.columns or ()
            return applications.comparable(np.asarray(joint_values(data), np.float64), columns)
        return np.asarray(data.values, np.float64).reshape(len(data), -1)


def _mixed(drawn: Dataset, real: Dataset | None, truth: Bool[np.ndarray, " n"]) -> Dataset:
    """Drawn examples, with real ones in the places where these belong."""
    if real is None:
        return drawn
    values = np.array(drawn.values, np.result_type(drawn.values, real.values))
    values[truth] = real.values
    conditions = drawn.conditions
    if conditions is not None and real.conditions is not None:
        given = np.array(conditions.values)
        given[truth] = real.conditions.values
        conditions = Dataset(given, conditions.schema)
    return Dataset(values, drawn.schema, conditions=conditions)
