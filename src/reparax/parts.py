"""The base of every part: a frozen set of options, from which `create` makes the module to train."""

import dataclasses
from typing import Any

import equinox as eqx

from reparax.errors import RecipeError

UNBOUNDED = float("inf")


def option(
    default: Any, *, low: float = -UNBOUNDED, high: float = UNBOUNDED, choices: tuple[str, ...] = (), cure: str = ""
) -> Any:
    """An option of a part: a field with a default, whose values are numbers in a range, names, or true and false.

    Args:
        default: The default value; its type is the type of the option.
        low: The smallest allowed number.
        high: The largest allowed number.
        choices: The allowed names; any by default.
        cure: What to do about another one, if it is not only to choose one of these.
    """
    # Models that differ in real numbers alone can be trained as one program, if no branch depends on these.
    is_static = not isinstance(default, float)
    return eqx.field(
        default=default, static=is_static, metadata={"low": low, "high": high, "choices": choices, "cure": cure}
    )


class Part(eqx.Module):
    """A frozen set of options.

    Raises:
        RecipeError: An option has another type than its default, is out of its range, or is none of its choices.
    """

    def __check_init__(self) -> None:
        for field in _options(type(self)):
            value = checked_option(field, getattr(self, field.name), type(self).__name__)
            object.__setattr__(self, field.name, value)


def options_of(part: Part) -> dict[str, Any]:
    """The options of a part that differ from their defaults."""
    pairs = ((field, getattr(part, field.name)) for field in _options(type(part)))
    return {field.name: value for field, value in pairs if value != field.default}


def option_names(part: type[Part]) -> tuple[str, ...]:
    """The names of the options of a part."""
    return tuple(field.name for field in _options(part))


def checked_option(field: dataclasses.Field, value: Any, owner: str) -> Any:
    """The value of an option as a Python number, text or bool.

    Raises:
        RecipeError: The type is not that of the default, the number is out of its range, or the name is no choice.
    """
    kind: Any = type(field.default)
    choices = field.metadata["choices"]
    if kind in (bool, str):
        if isinstance(value, kind) and (not choices or value in choices):
            return value
        names = " or ".join(choices) or "a name"
        raise _refused(field, value, owner, "True or False" if kind is bool else names)
    number = as_number(value, kind)
    low, high = field.metadata["low"], field.metadata["high"]
    if number is None or not low <= number <= high:
        words = "a whole number" if kind is int else "a number"
        raise _refused(field, value, owner, f"{words} between {low:g} and {high:g}")
    return number


def as_number(value: Any, kind: type[int] | type[float]) -> int | float | None:
    """A value as a Python int or float; None if it is neither, or not a whole number where one is needed."""
    if isinstance(value, str | bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if kind is int:
        return int(number) if number.is_integer() else None
    return number


def _refused(field: dataclasses.Field, value: Any, owner: str, expected: str) -> RecipeError:
    return RecipeError(
        expected=f"{field.name} of {owner} to be {expected}",
        got=repr(value),
        cure=field.metadata["cure"] or f"choose another {field.name.replace('_', '-')}",
    )


def _options(part: type[Part]) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(part) if "low" in field.metadata]
