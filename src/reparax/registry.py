"""Finds the parts of a room by reflection: one file is one part, its name the file's name.

A part added as ``posteriors/full_covariance_normal.py`` holds the class ``FullCovarianceNormal`` and is called
``full-covariance-normal`` on the command line. Listing the names imports nothing of the room, so that ``reparax
--help`` starts without jax.
"""

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reparax.errors import RecipeError


@cache
def names(room: str) -> tuple[str, ...]:
    """The names of a room's parts, sorted, without importing them.

    Args:
        room: The room's name, for example ``"posteriors"``.
    """
    spec = find_spec("reparax")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations))) / room
    modules = (module.name for module in pkgutil.iter_modules([str(folder)]))
    return tuple(sorted(name.replace("_", "-") for name in modules if not name.startswith("_")))


def load(room: str, name: str) -> Any:
    """The class of a part, by the room's and the part's name.

    Raises:
        RecipeError: The room has no part of that name.
    """
    known = names(room)
    if name not in known:
        raise RecipeError(
            expected=f"one of the {room}: {', '.join(known)}", got=repr(name), cure="choose one of those names"
        )
    module = importlib.import_module(f"reparax.{room}.{name.replace('-', '_')}")
    return getattr(module, class_name(name, dir(module)))


def class_name(name: str, candidates: list[str]) -> str:
    """The class that a part's file holds: the part's name in CamelCase, whatever its capitals (``elbo``: ``ELBO``)."""
    wanted = name.replace("-", "").replace("_", "").lower()
    return next(candidate for candidate in candidates if candidate.lower() == wanted)


def part_name(part: type) -> str:
    """The name of a part on the command line and in recipes; the inverse of `load`."""
    return part.__module__.rpartition(".")[2].replace("_", "-")


def lazy_parts(module_name: str) -> tuple[Callable[[str], type], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a room: its parts as attributes, each imported when first asked for."""
    room = module_name.rpartition(".")[2]

    def find(attribute: str) -> type:
        wanted = attribute.lower()
        for name in names(room):
            if name.replace("-", "") == wanted:
                part = load(room, name)
                if part.__name__ == attribute:
                    return part
        raise AttributeError(f"module {module_name!r} has no attribute {attribute!r}")

    def listing() -> list[str]:
        return [load(room, name).__name__ for name in names(room)]

    return find, listing
