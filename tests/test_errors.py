"""Errors say what was expected, what came and the cure, and survive joblib's pickling."""

import inspect
import pickle

import pytest

from reparax import errors

KINDS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.ReparaxError) and kind.__module__ == errors.__name__
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_message_has_all_three_parts(kind):
    error = kind(expected="a table", got="a song", cure="give a table")
    assert str(error) == "expected a table; got a song; give a table"
    assert (error.expected, error.got, error.cure) == ("a table", "a song", "give a table")


@pytest.mark.parametrize("kind", KINDS)
def test_errors_travel_between_processes(kind):
    error = kind(expected="one", got="two", cure="three")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (str(back), back.expected, back.got, back.cure) == (str(error), "one", "two", "three")


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        ("DataError", ValueError),
        ("RecipeError", ValueError),
        ("OutputError", OSError),
        ("TrainingError", ArithmeticError),
    ],
)
def test_errors_are_also_pythons_own(kind, also):
    assert issubclass(getattr(errors, kind), also)
