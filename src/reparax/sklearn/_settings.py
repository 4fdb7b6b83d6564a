"""The settings that both estimators have: fields of a recipe and options of its parts, as on the command line."""

import inspect
import textwrap
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter
from typing import Any, TypeVar

from reparax import registry
from reparax.recipe import ChosenPart, TableSettings

RENAMED = {"gradient_estimator": "estimator"}
"""Settings with another name here: in scikit-learn, a parameter ``estimator`` is an estimator to wrap."""

WIDTH = 112
INDENT = " " * 4

Kind = TypeVar("Kind", bound=type)


class EstimatorSettings(TableSettings, total=False, closed=True):
    """The settings of an estimator; those left at None are chosen by the rules of `reparax.recipe.suggest`."""

    objective: ChosenPart | None
    gradient_estimator: str | None


SETTINGS: Mapping[str, Any] = EstimatorSettings.__annotations__
"""The type of each setting, by name."""


def with_settings(**defaults: Any) -> Callable[[Kind], Kind]:
    """Replaces the ``**settings`` of an estimator's ``__init__`` and docstring with one parameter for each setting.

    scikit-learn reads the parameters of an estimator from its signature. The decorated ``__init__`` refuses unknown
    settings and receives all others, with their defaults where they are not given.

    Args:
        **defaults: The settings whose default is not None.
    """
    all_defaults = {name: defaults.get(name) for name in SETTINGS}

    def decorate(kind: Kind) -> Kind:
        target: Any = kind
        target.__init__ = _with_defaults(target.__init__, all_defaults)
        target.__doc__ = _with_descriptions(inspect.getdoc(kind) or "")
        return kind

    return decorate


def _with_defaults(init: Callable[..., None], defaults: Mapping[str, Any]) -> Callable[..., None]:
    explicit = [one for one in inspect.signature(init).parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
    settings = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=SETTINGS[name])
        for name, default in defaults.items()
    ]
    signature = inspect.Signature([*explicit, *settings], return_annotation=None)

    @wraps(init)
    def filled(self: Any, **parameters: Any) -> None:
        for name in parameters:
            if name not in signature.parameters:
                raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {name!r}")
        init(self, **{**defaults, **parameters})

    vars(filled)["__signature__"] = signature
    return filled


def _with_descriptions(docstring: str) -> str:
    """A docstring with an entry for each setting in place of that of ``**settings``."""
    before, entry, after = docstring.partition(f"{INDENT}**settings:")
    if not entry:  # python -OO strips docstrings
        return docstring
    rest = after[after.index("\n\n") :]
    entries = (
        textwrap.fill(f"{name}: {text}", WIDTH, initial_indent=INDENT, subsequent_indent=2 * INDENT)
        for name, text in descriptions().items()
    )
    return before + "\n".join(entries) + rest


def descriptions() -> dict[str, str]:
    """What each setting is, in the words of the recipe and its parts."""
    fields = {field.name: field.text for field in registry.recipe_fields()}
    return {name: fields.get(name) or _of_option(RENAMED.get(name, name)) for name in SETTINGS}


def _of_option(name: str) -> str:
    texts = [
        f"{registry.listed(parts)} {option.field}: {text}"
        for option in registry.part_options()
        if option.name == name
        for text, parts in option.parts_by_text.items()
    ]
    return f"{'; '.join(texts)}."


def chosen(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among an estimator's parameters that are not left open, as `reparax.fit` takes them."""
    return {RENAMED.get(name, name): parameters[name] for name in SETTINGS if parameters[name] is not None}
