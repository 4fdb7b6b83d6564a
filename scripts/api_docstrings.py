"""An extension of griffe, which reads the source for the pages of docs/api.

Docstrings become Markdown, and classes that are made of their fields get the signature that they have.
"""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "docs" / "api"
ENTRY = re.compile(r"^::: (reparax\.(\w+)\S*)\n +options:\n +heading: (\w+)$", re.MULTILINE)
EXPORTED = re.compile(r"\[`rx\.(\w+)`\]\[(\S+)\]")

MADE_OF_FIELDS = frozenset({"Module", "NamedTuple", "Struct"})
"""Bases whose subclasses are made from their annotated fields."""

FIELD_MAKERS = ("field", "option")
"""Functions that say more of a field than its default."""

_spec = importlib.util.spec_from_file_location("docstring_markdown", HERE / "docstring_markdown.py")
assert _spec is not None
assert _spec.loader is not None
docstring_markdown = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(docstring_markdown)


class Docstrings(griffe.Extension):
    """What a reader of the pages sees in the place of what a reader of the source sees."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Once all of the package is read."""
        links = public_places()
        for thing in everything(pkg):
            if isinstance(thing, griffe.Class):
                add_signature(thing)
            if thing.docstring is not None:
                rewrite(thing.docstring, links_of(thing, links), pkg["errors"])


def everything(thing: griffe.Object) -> Iterator[griffe.Object]:
    """An object and all that is defined in it."""
    yield thing
    for member in thing.members.values():
        if not member.is_alias:
            yield from everything(member)


def public_places() -> dict[str, str]:
    """Where each name of the pages is defined: ``reparax.objectives.ELBO``, ``rx.fit``; classes of one room by it."""
    found: dict[str, str] = {}
    short: dict[str, set[str]] = {}
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for place, room, name in ENTRY.findall(text):
            found |= {f"reparax.{room}.{name}": place, f"{room}.{name}": place}
            short.setdefault(name, set()).add(place)
        for name, place in EXPORTED.findall(text):
            found |= {f"reparax.{name}": place, f"rx.{name}": place}
    return found | {name: min(places) for name, places in short.items() if len(places) == 1 and name[0].isupper()}


def links_of(thing: griffe.Object, links: dict[str, str]) -> dict[str, str]:
    """The names that an object's docstring may mean: those of its own room also without the room's name."""
    room = ".".join(thing.path.split(".")[:2])
    near = {name.removeprefix(f"{room}."): place for name, place in links.items() if name.startswith(f"{room}.")}
    return links | {name: place for name, place in near.items() if not names_a_member(thing, name)}


def names_a_member(thing: griffe.Object, name: str) -> bool:
    """Whether a name is one of the methods of the same class."""
    return any(isinstance(place, griffe.Class) and name in place.members for place in (thing, thing.parent))


def rewrite(docstring: griffe.Docstring, links: dict[str, str], errors: griffe.Module) -> None:
    """Turns the texts of a docstring into Markdown, in place."""
    for section in docstring.parsed:
        if section.kind is griffe.DocstringSectionKind.text:
            section.value = docstring_markdown.markdown(section.value, links)
        elif isinstance(section.value, list):
            for item in section.value:
                if isinstance(item, griffe.DocstringElement):
                    item.description = docstring_markdown.markdown(item.description, links)
                if isinstance(item, griffe.DocstringRaise) and str(item.annotation) in errors.members:
                    # Also where the file that raises it has it from another one.
                    item.annotation = griffe.ExprName(str(item.annotation), parent=errors)


def add_signature(thing: griffe.Class) -> None:
    """Gives a class that is made of its fields the ``__init__`` that it has."""
    if "__init__" in thing.members or thing.name.startswith("Abstract") or not is_made_of_fields(thing):
        return
    fields = [
        field
        for field in thing.members.values()
        if isinstance(field, griffe.Attribute) and field.annotation and "instance-attribute" in field.labels
    ]
    optional = [field.value is not None for field in fields]
    # Only by name can a field without a default come behind one that has one.
    kind = (
        griffe.ParameterKind.positional_or_keyword
        if optional == sorted(optional)
        else griffe.ParameterKind.keyword_only
    )
    parameters = [
        griffe.Parameter(field.name, annotation=field.annotation, default=default(field.value), kind=kind)
        for field in fields
    ]
    this = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    thing.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(this, *parameters)))


def is_made_of_fields(thing: griffe.Class) -> bool:
    """Whether a class is made from its annotated fields, as one of its bases, or of theirs, has it."""
    names = {str(base).rpartition(".")[2] for base in thing.bases}
    return bool(names & MADE_OF_FIELDS) or any(
        is_made_of_fields(base) for base in thing.resolved_bases if isinstance(base, griffe.Class)
    )


def default(value: str | griffe.Expr | None) -> str | griffe.Expr | None:
    """The default of a field, also where it is said by a call: ``field(default=1, static=True)``."""
    if not isinstance(value, griffe.ExprCall) or value.canonical_name not in FIELD_MAKERS:
        return value
    named = {argument.name: argument.value for argument in value.arguments if isinstance(argument, griffe.ExprKeyword)}
    first = next((argument for argument in value.arguments if not isinstance(argument, griffe.ExprKeyword)), None)
    return "..." if "default_factory" in named else named.get("default", first)
