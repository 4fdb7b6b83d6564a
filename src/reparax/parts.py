"""What every part is: a frozen set of options, from which `create` makes the module that is trained."""

import dataclasses
from typing import Any

import equinox as eqx

from reparax.errors import RecipeError

UNBOUNDED = float("inf")


def option(default: Any, *, low: float = -UNBOUNDED, high: float = UNBOUNDED) -> Any:
    """An option of a part: a field with a default, whose values are numbers in a range, names or yes and no.

    Args:
        default: The value where none is chosen; its type is that of the option.
        low: The least value of a number.
        high: The greatest value of a number.
    """
    return eqx.field(default=default, static=True, metadata={"low": low, "high": high})


class Part(eqx.Module):
    """A frozen set of options.

    Raises:
        RecipeError: An option of another type than its default, or out of its range.
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
    """The names of a part's options."""
    return tuple(field.name for field in _options(part))


def checked_option(field: dataclasses.Field, value: Any, owner: str) -> Any:
    """A value of an option as Python's own number, text or truth value.

    Raises:
        RecipeError: Another type than that of the default, or a number out of its range.
    """
    kind: Any = type(field.default)
    if kind in (bool, str):
        if isinstance(value, kind):
            return value
        raise _refused(field, value, owner, "yes or no" if kind is bool else "a name")
    number = as_number(value, kind)
    low, high = field.metadata["low"], field.metadata["high"]
    if number is None or not low <= number <= high:
        whole = "a whole number " if kind is int else "a number "
        raise _refused(field, value, owner, f"{whole}between {low:g} and {high:g}")
    return number


def as_number(value: Any, kind: type[int] | type[float]) -> int | float | None:
    """A value as Python's own int or float; None for what is none, such as text or a fraction for a whole number."""
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
        cure=f"choose another {field.name.replace('_', '-')}",
    )


def _options(part: type[Part]) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(part) if "low" in field.metadata]
