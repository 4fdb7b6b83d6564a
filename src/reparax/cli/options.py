"""The options of ``reparax fit``: the fields of a recipe, the parts by name, and the options of the parts."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cyclopts import Parameter, Token, convert

from reparax import registry
from reparax.errors import RecipeError

if TYPE_CHECKING:
    Estimator = str
    CHOICES = (str,) * len(registry.ROOM_OF)
else:
    # A name from the list, or "module:Class".
    CHOICES = tuple(Literal[registry.names(room)] | str for room in registry.ROOM_OF.values())
    Estimator = Literal[("auto", *registry.names("estimators"))]

SHORT = frozenset(
    {"objective.beta", "objective.free_bits", "objective.num_samples", "objective.estimator", "prior.num_components"}
)
"""Options that also have a short name."""
HIDDEN = frozenset({"objective.warmup_steps"})
"""Options that follow from others."""


KINDS = {
    "int": int,
    "float": float,
    "Binarize": Literal["dynamic", "threshold"],
    "Relations": Literal["none", "stated", "found"],
    "Precision": Literal["float32", "tensorfloat32", "bfloat16"],
    **dict(zip((f"Choice of {part}" for part in registry.ROOM_OF), CHOICES, strict=True)),
}
"""The type of an option, by the type of the field of the recipe."""
NOT_CHOSEN = frozenset({"context_dim"})
"""Fields of a recipe that follow from the data."""


LARGEST_INTEGER = 2**63
_WHOLE = re.compile(r"[+-]?\d+")


def converted(kind: Any, tokens: Sequence[Token]) -> Any:
    """The value of a parameter; a whole number must be written as one, and be below 2**63."""
    if kind is not int:
        return convert(kind, tokens)
    text = tokens[0].value
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text} is not a whole number.")
    if abs(int(text)) >= LARGEST_INTEGER:
        raise ValueError(f"{text} is too large.")
    return int(text)


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """The choices about a model and its training; choices that are left open are suggested from the data."""

    def chosen(self) -> dict[str, Any]:
        """The given choices: fields of a recipe, and options of parts such as ``"prior.num_components"``."""
        given = {one.metadata["option"]: getattr(self, one.name) for one in fields(self)}
        return {name: choice_of(name, value) for name, value in given.items() if value is not None}


def choice_of(name: str, value: Any) -> Any:
    """A part with its options from JSON; any other value unchanged."""
    if name not in registry.ROOM_OF or not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise RecipeError(
            expected=f'--{name} as a name, or as JSON: {{"name": ..., "an_option": ...}}',
            got=f"{value} ({error})",
            cure="put all of it in single quotes, and names in double quotes",
        ) from None


def _recipe_fields() -> list[tuple[str, Any, Any]]:
    """One field for each field of a recipe."""
    return [
        _declared(field.name, _kind(field), [f"--{field.name.replace('_', '-')}"], field.text)
        for field in registry.recipe_fields()
        if field.name not in NOT_CHOSEN
    ]


def _kind(field: registry.Field) -> Any:
    return KINDS[f"Choice of {field.name}" if field.kind == "Choice" else field.kind]


def _declared(name: str, kind: Any, flags: list[str], text: str) -> tuple[str, Any, Any]:
    annotation = Annotated[kind | None, Parameter(name=flags, help=text, converter=converted)]
    return name.replace(".", "__"), annotation, field(default=None, metadata={"option": name})


def _part_options() -> list[tuple[str, Any, Any]]:
    """One field for each option of a part; options of the same name of several parts are one field."""
    return [_part_option(option) for option in registry.part_options() if _full_name(option) not in HIDDEN]


def _part_option(option: registry.PartOption) -> tuple[str, Any, Any]:
    name = _full_name(option)
    flag = name.replace("_", "-")
    flags = [f"--{flag}", *([f"--{flag.partition('.')[2]}"] if name in SHORT else [])]
    text = "; ".join(f"{registry.listed(parts)}: {words}" for words, parts in option.parts_by_text.items())
    return _declared(name, Estimator if option.name == "estimator" else option.kind, flags, f"{text}.")


def _full_name(option: registry.PartOption) -> str:
    return f"{option.field}.{option.name}"


RecipeOptions: Any = Parameter(name="*")(
    make_dataclass(
        "RecipeOptions",
        [*_recipe_fields(), *_part_options()],
        bases=(_Chosen,),
        namespace={"__module__": __name__, "__doc__": _Chosen.__doc__},
        frozen=True,
        kw_only=True,
    )
)
"""The choices about a model and its training, with the options of all parts."""


@dataclass(frozen=True, kw_only=True)
class _Varied:
    """The choices about models and their training: one value for all, or several with commas."""

    def varied(self) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        """The choices with several values, and those with one, by the names that `_Chosen.chosen` gives them.

        Raises:
            RecipeError: A value is not of the kind of its option, or is given twice.
        """
        varied: dict[str, list[Any]] = {}
        chosen: dict[str, Any] = {}
        for one in fields(self):
            text = getattr(self, one.name)
            if text is None:
                continue
            name = one.metadata["option"]
            values = [_value_of(name, one.metadata["kind"], part) for part in _parts(name, text)]
            if len(values) == 1:
                chosen[name] = values[0]
            else:
                varied[name] = values
        return varied, chosen


def _parts(name: str, text: str) -> list[str]:
    """``2,8,32`` as three texts; commas inside braces belong to a part with options."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    parts = [part.strip() for part in parts]
    if not all(parts) or len(set(parts)) < len(parts):
        raise RecipeError(
            expected=f"different values with commas between them for --{name.replace('_', '-')}", got=repr(text),
            cure="write 2,8,32, without a comma at the end",
        )  # fmt: skip
    return parts


def _value_of(name: str, kind: Any, text: str) -> Any:
    """A value of a kind from its text.

    Raises:
        RecipeError: It is not one of that kind.
    """
    if kind not in {int, float}:
        return choice_of(name, text)
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        raise RecipeError(
            expected=f"{'whole ' if kind is int else ''}numbers for --{name.replace('_', '-')}", got=repr(text),
            cure="write numbers with commas between them",
        ) from None  # fmt: skip


def _as_text(declared: tuple[str, Any, Any]) -> tuple[str, Any, Any]:
    """A field of `RecipeOptions` as one that takes several values."""
    name, annotation, given = declared
    kind, parameter = annotation.__args__[0], annotation.__metadata__[0]
    metadata = {**given.metadata, "kind": next(one for one in (*get_args(kind), kind) if one is not type(None))}
    text = Annotated[str | None, Parameter(name=parameter.name, help=parameter.help)]
    return name, text, field(default=None, metadata=metadata)


SweepOptions: Any = Parameter(name="*")(
    make_dataclass(
        "SweepOptions",
        [_as_text(one) for one in (*_recipe_fields(), *_part_options())],
        bases=(_Varied,),
        namespace={"__module__": __name__, "__doc__": _Varied.__doc__},
        frozen=True,
        kw_only=True,
    )
)
"""The same with several values each."""
