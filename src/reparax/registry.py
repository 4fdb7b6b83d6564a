"""Finds the parts of a room by reading its files, and custom parts by the names of their modules.

A part is a public class whose base is abstract: ``class FullCovarianceNormal(AbstractFamily)`` in ``posteriors/`` is
called ``full-covariance-normal`` on the command line. A class may name itself: ``name: ClassVar[str] = "disarm"`` in
DisARM. Files whose names begin with an underscore hold no parts. Listing parts and their options does not import the
room, so that ``reparax --help`` starts without jax. A custom part is called ``my_package.parts:MyPosterior``.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from reparax.errors import RecipeError

ROOMS = {
    "posteriors": "AbstractPosterior",
    "priors": "AbstractPrior",
    "likelihoods": "AbstractLikelihood",
    "objectives": "AbstractObjective",
    "networks": "AbstractArchitecture",
    "estimators": "AbstractEstimator",
}
"""The rooms (packages) of parts, and the base class of their parts."""

ROOM_OF = {
    "posterior": "posteriors",
    "prior": "priors",
    "likelihood": "likelihoods",
    "objective": "objectives",
    "network": "networks",
}
"""The room of each field of a recipe that chooses a part."""

ELSEWHERE = {"likelihoods": ("tables/columns.py", "tables/views.py")}
"""Files in other rooms that also hold parts of a room."""

_PART = re.compile(r"^class ([A-Z]\w*)\(Abstract\w*[,)].*\n((?:(?:[ \t].*)?\n)*)", re.MULTILINE)
_NAME = re.compile(r'^    name: ClassVar\[str\] = "([a-z0-9-]+)"$', re.MULTILINE)


class Place(NamedTuple):
    """Where a part is.

    Attributes:
        file: The file.
        module: The name of its module.
        attribute: The name of its class.
    """

    file: Path
    module: str
    attribute: str


class Option(NamedTuple):
    """An option of a part, as declared in its file.

    Attributes:
        name: Its name.
        default: Its default.
        text: What it is.
    """

    name: str
    default: bool | int | float | str
    text: str


class PartOption(NamedTuple):
    """An option of one or several parts that a field of a recipe can choose.

    Attributes:
        field: The field: ``"prior"``.
        name: The name of the option: ``"num_components"``.
        kind: Its type.
        parts_by_text: What the option is, with its default, and the names of the parts that describe it this way.
    """

    field: str
    name: str
    kind: type
    parts_by_text: Mapping[str, tuple[str, ...]]


class Field(NamedTuple):
    """A field of a recipe, as declared in its file.

    Attributes:
        name: Its name.
        kind: Its type.
        text: What it is.
    """

    name: str
    kind: str
    text: str


@cache
def places(room: str) -> Mapping[str, Place]:
    """The parts of a room by their names, sorted.

    Args:
        room: The name of the room, for example ``"posteriors"``.
    """
    result = {}
    for file in _files(room):
        if file.name.startswith("_"):
            continue
        for attribute, body in _PART.findall(file.read_text("utf-8")):
            if attribute.startswith("Abstract"):
                continue
            explicit = _NAME.search(body)
            name = explicit[1] if explicit else kebab(attribute)
            result[name] = Place(file, f"reparax.{file.parent.name}.{file.stem}", attribute)
    return dict(sorted(result.items()))


def names(room: str) -> tuple[str, ...]:
    """The names of a room's parts, sorted, without importing them.

    Args:
        room: The name of the room, for example ``"posteriors"``.
    """
    return tuple(places(room))


@cache
def options(room: str, name: str) -> tuple[Option, ...]:
    """The options of a part, without importing it.

    Args:
        room: The name of the room.
        name: The name of a built-in part.
    """
    place = places(room)[name]
    tree = ast.parse(place.file.read_text("utf-8"))
    node = next(part for part in tree.body if isinstance(part, ast.ClassDef) and part.name == place.attribute)
    texts = _arguments(ast.get_docstring(node) or "")
    return tuple(
        Option(line.target.id, ast.literal_eval(line.value.args[0]), texts.get(line.target.id, ""))
        for line in node.body
        if isinstance(line, ast.AnnAssign)
        and isinstance(line.target, ast.Name)
        and isinstance(line.value, ast.Call)
        and isinstance(line.value.func, ast.Name)
        and line.value.func.id == "option"
    )


@cache
def recipe_fields() -> tuple[Field, ...]:
    """The fields of a recipe, without importing it."""
    tree = ast.parse((_source() / "recipe" / "_recipe.py").read_text("utf-8"))
    node = next(part for part in tree.body if isinstance(part, ast.ClassDef) and part.name == "Recipe")
    texts = _arguments(ast.get_docstring(node) or "")
    return tuple(
        Field(line.target.id, ast.unparse(line.annotation), texts[line.target.id])
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    )


@cache
def column_kinds() -> Mapping[str, Place]:
    """The kinds that a column of a table can have, each with its family of densities, without importing these."""
    result = {}
    for file in sorted((_source() / "tables").glob("*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and any(ast.unparse(b) == "AbstractColumnFamily" for b in node.bases):
                place = Place(file, f"reparax.tables.{file.stem}", node.name)
                result |= dict.fromkeys(_literal(node, "kinds"), place)
    return result


def column_families() -> tuple[Any, ...]:
    """The families of columns of tables, in the order of their files."""
    places = dict.fromkeys(column_kinds().values())
    return tuple(getattr(importlib.import_module(place.module), place.attribute) for place in places)


@cache
def part_options() -> tuple[PartOption, ...]:
    """The options of all parts that a recipe can choose, without importing them, merged by field and name."""
    collected: dict[tuple[str, str], list[tuple[str, Option]]] = {}
    for field, room in ROOM_OF.items():
        for part in names(room):
            for option in options(room, part):
                collected.setdefault((field, option.name), []).append((part, option))
    return tuple(
        PartOption(field, name, type(having[0][1].default), _by_text(having))
        for (field, name), having in collected.items()
    )


def _by_text(having: list[tuple[str, Option]]) -> dict[str, tuple[str, ...]]:
    texts = {part: f"{option.text.rstrip('.')} (default: {option.default})" for part, option in having}
    return {text: tuple(part for part in texts if texts[part] == text) for text in texts.values()}


def listed(parts: Sequence[str]) -> str:
    """Names in a sentence: ``elbo, iwae and reconstruction``."""
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last


def load(room: str, name: str) -> Any:
    """The class of a part of a room, by its name or as ``"module:Class"``.

    Raises:
        RecipeError: The room has no part of that name, or the module has no such class.
    """
    # Estimators cannot be custom: reading a recipe loads its estimator, before any module is allowed.
    if ":" in name and room in ROOM_OF.values():
        return _load_custom(room, name)
    known = places(room)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f'Did you mean "{near[0]}"? Or ' if near else "choose one of those names, or "
        raise RecipeError(
            expected=f"one of the {room}: {', '.join(known)}",
            got=repr(name),
            cure=f"{hint}name your own class as module:Class",
        )
    place = known[name]
    return getattr(importlib.import_module(place.module), place.attribute)


def module_of(name: str) -> str | None:
    """The module of a custom part, by the name of the part; None for built-in parts."""
    module, colon, _ = name.partition(":")
    return module if colon else None


def part_name(part: type) -> str:
    """The name of a part on the command line and in recipes; the inverse of `load`."""
    defined_at = (part.__module__, part.__qualname__)
    for room in ROOMS:
        for name, place in places(room).items():
            if (place.module, place.attribute) == defined_at:
                return name
    if part.__module__.startswith("reparax."):
        return kebab(part.__name__)
    return f"{part.__module__}:{part.__qualname__}"


def kebab(name: str) -> str:
    """The name of a class in lower case with dashes: ``diagonal-normal`` for ``DiagonalNormal``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def lazy_parts(module_name: str) -> tuple[Callable[[str], type], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a room: its parts as attributes, each imported when first used."""
    room = module_name.rpartition(".")[2]

    def find(attribute: str) -> type:
        for name, place in places(room).items():
            if place.attribute == attribute:
                return load(room, name)
        raise AttributeError(f"module {module_name!r} has no attribute {attribute!r}")

    def listing() -> list[str]:
        return [place.attribute for place in places(room).values()]

    return find, listing


def _load_custom(room: str, name: str) -> type:
    module, _, attribute = name.partition(":")
    base = getattr(importlib.import_module(f"reparax.{room}"), ROOMS[room])
    expected = f"a class for the {room}, as module:Class"
    try:
        part = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        cure = f"install {error.name}, or run reparax where Python can import it"
        raise RecipeError(expected=expected, got=f"{name!r}, but there is no module {error.name}", cure=cure) from None
    except (AttributeError, ValueError):
        cure = "check the name of the class"
        raise RecipeError(expected=expected, got=f"{name!r}, but {module} has no such class", cure=cure) from None
    if not (isinstance(part, type) and issubclass(part, base)) or inspect.isabstract(part):
        raise RecipeError(
            expected=expected,
            got=f"{name!r}, which is not such a class",
            cure=f"make it a subclass of reparax.{room}.{ROOMS[room]}",
        )
    return part


def _files(room: str) -> list[Path]:
    """The files that may hold parts of a room."""
    source = _source()
    return [*sorted((source / room).glob("*.py")), *(source / file for file in ELSEWHERE.get(room, ()))]


def _literal(node: ast.ClassDef, name: str) -> Any:
    """The value of a class attribute, as declared in its file."""
    line = next(
        line
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id == name
    )
    assert line.value is not None
    return ast.literal_eval(line.value)


def _source() -> Path:
    spec = find_spec("reparax")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))


def _arguments(docstring: str) -> dict[str, str]:
    """The entries of the ``Args:`` or ``Attributes:`` section of a docstring, by name."""
    section = re.split(r"^(?:Args|Attributes):\n", docstring, maxsplit=1, flags=re.MULTILINE)[-1]
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
