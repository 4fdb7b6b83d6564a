"""A chosen part in a recipe: its name, or its name and its options."""

from collections.abc import Mapping
from typing import Any

from reparax import registry
from reparax.errors import RecipeError
from reparax.parts import Part, option_names, options_of

Choice = str | dict[str, Any]
"""``"categorical"``, or ``{"name": "categorical", "num_classes": 5}``; a part of one's own is ``"module:Class"``."""


def name_of(choice: Choice) -> str:
    """The name of a chosen part."""
    return choice if isinstance(choice, str) else choice["name"]


def options_in(choice: Choice) -> dict[str, Any]:
    """The options of a chosen part that are not left at their defaults."""
    return {} if isinstance(choice, str) else {name: value for name, value in choice.items() if name != "name"}


def choice(field: str, value: Any) -> Choice:
    """A choice as a recipe holds it, from a name, a mapping, or a part; parts of this package are checked.

    A part of the user's own is not imported here.

    Args:
        field: The field of the recipe: ``"posterior"``, ...
        value: What the user gave.

    Raises:
        RecipeError: No such part or option, or an option out of its range.
    """
    if isinstance(value, type) and issubclass(value, Part):
        value = registry.part_name(value)
    if isinstance(value, Part):
        return _joined(registry.part_name(type(value)), options_of(value))
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        name, options = value["name"], {key: option for key, option in value.items() if key != "name"}
    elif isinstance(value, str):
        name, options = value, {}
    else:
        raise RecipeError(
            expected=f'the {field} by its name, or as {{"name": ..., "an_option": ...}}',
            got=repr(value),
            cure=f"choose one of {', '.join(registry.names(registry.ROOM_OF[field]))}",
        )
    if registry.module_of(name) is not None:
        return _joined(name, options)
    return _joined(name, options_of(_made(field, name, options)))


def part_of(field: str, value: Choice) -> Any:
    """The part of a choice; the module of a part of the user's own is imported.

    Raises:
        RecipeError: No such part or option, or an option out of its range.
    """
    return _made(field, name_of(value), options_in(value))


def with_options(field: str, value: Choice, options: Mapping[str, Any]) -> Choice:
    """A choice with more options.

    Raises:
        RecipeError: The part has no such option, or it is out of its range.
    """
    return choice(field, {"name": name_of(value), **options_in(value), **options})


def has_option(field: str, value: Choice, name: str) -> bool:
    """Whether a chosen part has an option of a name."""
    return name in option_names(registry.load(registry.ROOM_OF[field], name_of(value)))


def _made(field: str, name: str, options: Mapping[str, Any]) -> Any:
    kind = registry.load(registry.ROOM_OF[field], name)
    unknown = sorted(set(options) - set(option_names(kind)))
    if unknown:
        known = ", ".join(option_names(kind))
        raise RecipeError(
            expected=f"options of the {name} {field}: {known}" if known else f"no options: the {name} {field} has none",
            got=", ".join(unknown),
            cure="leave them out, or choose another part",
        )
    return kind(**options)


def _joined(name: str, options: Mapping[str, Any]) -> Choice:
    return {"name": name, **options} if options else name
