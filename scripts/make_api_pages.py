"""Writes docs/api/, the reference of all public functions and classes: which there are; zensical adds what they are."""

import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType

import reparax

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "api"

ROOMS = (
    "applications", "data", "recipe", "model", "sklearn", "reports", "artifact", "exports", "serving", "explorer",
    "posteriors", "priors", "likelihoods", "objectives", "networks", "tables", "training",
    "distributions", "reparameterization", "estimators", "programs", "continuity", "errors",
)  # fmt: skip


def members(room: ModuleType) -> dict[str, type | FunctionType]:
    """The public functions and classes that are at home in a room, by their names there, sorted."""
    names = sorted({name for name in (*vars(room), *dir(room)) if not name.startswith("_")}, key=str.lower)
    found = {name: getattr(room, name) for name in names}
    return {name: value for name, value in found.items() if is_at_home(value, room.__name__)}


def is_at_home(value: object, room: str) -> bool:
    """Whether a value is a function or a class that a room itself defines."""
    home = getattr(value, "__module__", "")
    is_documented = inspect.isroutine(value) or inspect.isclass(value)
    return is_documented and bool(inspect.getdoc(value)) and (home == room or home.startswith(f"{room}."))


def place(value: type | FunctionType) -> str:
    """Where a function or class is defined, as zensical finds it: parts of a room are not among its module's names."""
    return f"{value.__module__}.{value.__qualname__}"


@cache
def places() -> dict[str, str]:
    """Where each public name is defined, as docstrings name it: ``reparax.recipe.suggest``, ``fit``."""
    found = {}
    for room in ROOMS:
        module = importlib.import_module(f"reparax.{room}")
        found |= {f"{module.__name__}.{name}": place(value) for name, value in members(module).items()}
    return found | {name: place(value) for name, value in exported()}


def page(room: str) -> str:
    """The page of a room: what it is for, and one entry for each function and class."""
    module = importlib.import_module(f"reparax.{room}")
    entries = (
        f"\n::: {place(value)}\n    options:\n      heading: {name}\n" for name, value in members(module).items()
    )
    hidden = ("show_root_heading: false", "show_root_toc_entry: false", "members: []")
    about = f"\n::: reparax.{room}\n    options:\n" + "".join(f"      {option}\n" for option in hidden)
    return f"# reparax.{room}\n{about}{''.join(entries)}"


def front_door() -> str:
    """The page of the names that ``import reparax as rx`` gives, each with its first sentence and a link."""
    lines = ["# Overview", "", "What `import reparax as rx` gives:", ""]
    lines += ["| name | what |", "|---|---|", *front_door_rows(), "", "## Modules", ""]
    lines += ["| module | what |", "|---|---|"]
    for room in ROOMS:
        lines.append(f"| [`reparax.{room}`]({room}.md) | {sentence(importlib.import_module(f'reparax.{room}'))} |")
    return "\n".join(lines) + "\n"


def front_door_rows() -> Iterator[str]:
    """A row of the table for each exported function and class, sorted."""
    for name, value in exported():
        yield f"| [`rx.{name}`][{place(value)}] | {sentence(value)} |"


def exported() -> list[tuple[str, type | FunctionType]]:
    """The functions and classes that the package itself exports, sorted by name."""
    found = ((name, getattr(reparax, name)) for name in sorted(reparax.__all__, key=str.lower))
    return [(name, value) for name, value in found if inspect.isroutine(value) or inspect.isclass(value)]


def sentence(value: object) -> str:
    """The first sentence of a docstring, as it may stand in a table."""
    return markdown().prose(" ".join((inspect.getdoc(value) or "").split("\n\n")[0].split()), places())


def markdown() -> ModuleType:
    """The file beside this one that makes Markdown of docstrings."""
    spec = importlib.util.spec_from_file_location(
        "docstring_markdown", Path(__file__).with_name("docstring_markdown.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    return {"index.md": front_door()} | {f"{room}.md": page(room) for room in ROOMS}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
