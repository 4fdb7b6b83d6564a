"""The options of ``reparax fit``: the fields of a recipe, the parts by name, and the options of the parts."""

import json
from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from reparax import registry
from reparax.errors import RecipeError

if TYPE_CHECKING:
    Estimator = str
    CHOICES = (str,) * len(registry.ROOM_OF)
else:
    # A name of the list, or "module:Class".
    CHOICES = tuple(Literal[registry.names(room)] | str for room in registry.ROOM_OF.values())
    Estimator = Literal[("auto", *registry.names("estimators"))]

SHORT = frozenset(
    {"objective.beta", "objective.free_bits", "objective.num_samples", "objective.estimator", "prior.num_components"}
)
"""Options that have a short name as well."""
HIDDEN = frozenset({"objective.warmup_steps"})
"""Options that follow from others."""


KINDS = {
    "int": int,
    "float": float,
    "Binarize": Literal["dynamic", "threshold"],
    **dict(zip((f"Choice of {part}" for part in registry.ROOM_OF), CHOICES, strict=True)),
}
"""The type of an option, by that of a field of a recipe."""
NOT_CHOSEN = frozenset({"context_dim"})
"""Fields of a recipe that follow from the data."""


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """What is decided about a model and its training; what is left out is suggested from the data."""

    def chosen(self) -> dict[str, Any]:
        """What was given: fields of a recipe, and options of parts as ``"prior.num_components"``."""
        given = {one.metadata["option"]: getattr(self, one.name) for one in fields(self)}
        return {name: _read(name, value) for name, value in given.items() if value is not None}


def _read(name: str, value: Any) -> Any:
    """A part with its options, where it comes as JSON; other values as they are."""
    if name not in registry.ROOM_OF or not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise RecipeError(
            expected=f'--{name} as a name, or as JSON: {{"name": ..., "an_option": ...}}',
            got=f"{value} ({error})",
            cure="put the whole in single quotes, and names in double ones",
        ) from None


def _recipe_fields() -> list[tuple[str, Any, Any]]:
    """One field for each of a recipe."""
    return [
        _declared(field.name, _kind(field), [f"--{field.name.replace('_', '-')}"], field.text)
        for field in registry.recipe_fields()
        if field.name not in NOT_CHOSEN
    ]


def _kind(field: registry.Field) -> Any:
    return KINDS[f"Choice of {field.name}" if field.kind == "Choice" else field.kind]


def _declared(name: str, kind: Any, flags: list[str], text: str) -> tuple[str, Any, Any]:
    annotation = Annotated[kind | None, Parameter(name=flags, help=text)]
    return name.replace(".", "__"), annotation, field(default=None, metadata={"option": name})


def _part_options() -> list[tuple[str, Any, Any]]:
    """One field for each option of a part; what parts of a room have in common is one."""
    collected: dict[str, list[tuple[str, registry.Option]]] = {}
    for part, room in registry.ROOM_OF.items():
        for name in registry.names(room):
            for option in registry.options(room, name):
                collected.setdefault(f"{part}.{option.name}", []).append((name, option))
    return [_field(name, having) for name, having in collected.items() if name not in HIDDEN]


def _field(name: str, having: list[tuple[str, registry.Option]]) -> tuple[str, Any, Any]:
    flag = name.replace("_", "-")
    flags = [f"--{flag}", *([f"--{flag.partition('.')[2]}"] if name in SHORT else [])]
    texts: dict[str, list[str]] = {}
    for part, option in having:
        texts.setdefault(f"{option.text.rstrip('.')} (default: {option.default})", []).append(part)
    text = "; ".join(f"{' and '.join(parts)}: {said}" for said, parts in texts.items())
    kind: Any = type(having[0][1].default)
    if name.endswith(".estimator"):
        kind = Estimator
    return _declared(name, kind, flags, f"{text}.")


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
"""What is decided about a model and its training, with the options of all parts."""
