"""The explorer without its server: an answer to every message."""

from collections.abc import Callable
from typing import Any

from reparax.errors import RecipeError
from reparax.explorer import messages
from reparax.explorer.ask import Ask
from reparax.explorer.blind import BlindTest
from reparax.explorer.frames import Answer
from reparax.explorer.look import Look
from reparax.explorer.move import Move
from reparax.explorer.reasons import reasons_of
from reparax.explorer.scores import Scoring
from reparax.explorer.subject import Subject, subject_of
from reparax.explorer.things import Things
from reparax.explorer.whatif import Questions
from reparax.recipe import FittedModel


class Explorer:
    """Answers messages.

    Args:
        subject: The model and its data.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.things = Things(subject)
        self.scoring = Scoring(subject)
        self.reasons = reasons_of(subject, self.things)
        move, ask = Move(subject, self.things), Ask(subject, self.things, self.scoring)
        blind = BlindTest(subject, self.things)
        names = tuple(str(kind.__struct_config__.tag) for kind in messages.KINDS)
        look = Look(subject, self.things, self.scoring, names, self.reasons)
        self._operations: dict[type[messages.Message], Callable[[Any], Answer]] = {
            messages.Describe: look.describe, messages.Map: look.map, messages.Color: look.color,
            messages.Row: look.row, messages.Decode: move.decode, messages.Place: move.place,
            messages.Strip: move.strip, messages.Path: move.path, messages.Nearest: move.nearest,
            messages.Explain: ask.explain, messages.Sample: ask.sample, messages.Export: ask.export,
            messages.Blind: blind.blind, messages.Reveal: blind.answer,
        }  # fmt: skip

        if self.things.is_table and self.things.columns is not None:
            self._operations[messages.WhatIf] = Questions(subject, self.things.columns, self.scoring).whatif

    def answer(self, message: messages.Message) -> Answer:
        """The answer to a message.

        Raises:
            ReparaxError: The message asks for what is not there, in words for the user.
        """
        name = str(message.__struct_config__.tag)
        if name in self.reasons:
            raise RecipeError(
                expected="an operation that is there", got=f"{name}, which {self.reasons[name]}", cure="choose another"
            )
        return self._operations[type(message)](message)

    def warm_up(self) -> None:
        """Compiles what is asked of rows, so that the first question does not wait for the compiler."""
        if self.subject.dataset is None:
            return
        self.subject.codes  # noqa: B018
        for message in (messages.Explain(id=0, index=0), messages.WhatIf(id=0, index=0)):
            if str(message.__struct_config__.tag) not in self.reasons:
                self.answer(message)


def load(fitted: FittedModel, data: Any, name: str, *, command: str = "") -> Explorer:
    """What answers for a model and its data, ready for the first messages.

    Args:
        fitted: The fitted model.
        data: Data of the same kind as in the fit; None for none.
        name: The name of the data.
        command: The command to start it again; empty in Python.

    Raises:
        DataError: The data do not match the model.
        RecipeError: The model cannot be explored.
    """
    explorer = Explorer(subject_of(fitted, data, name=name, command=command))
    explorer.answer(messages.Describe(id=0))  # the first message of every page
    return explorer
