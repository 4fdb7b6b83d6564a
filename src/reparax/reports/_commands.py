"""How to do it again: the commands, the seed, the versions, the whole recipe."""

import json
import platform
import shlex
from importlib.metadata import version
from itertools import chain
from typing import Any

import msgspec

from reparax import registry
from reparax.data import Schema
from reparax.recipe import Recipe, held_out_share, suggest
from reparax.reports._page import Code, Details, Section, Table, Text
from reparax.reports._study import Origin, Study

ASKED = "as asked"
LIBRARIES = ("reparax", "jax", "numpyro", "equinox", "numpy")


def reproduce(study: Study) -> Section:
    """The commands, versions and settings that make the model and the page again."""
    recipe, origin = study.fitted.recipe, study.origin
    report = ["reparax", "report", origin.model, origin.data]
    if study.label is not None:
        report += ["--label", study.label]
    report += ["--samples", str(study.num_samples), "--seed", str(study.seed)]
    blocks: list[Any] = []
    if recipe is None:
        blocks.append(Text("The model is built from its user's own parts: no command makes it again."))
        blocks.append(Code(shlex.join(report)))
    else:
        blocks.append(
            Text(
                "The commands that make this model and this page again; whatever they leave out follows from "
                "the data. On the same machine with the same versions they give the same bits."
            )
        )
        blocks.append(Code("\n".join(map(shlex.join, (_fit_command(recipe, study.fitted.schema, origin), report)))))
        if study.columns:
            blocks.append(Text("Where the fit was given a --schema file, give it again.", "small"))
    blocks.append(Table(("", "version"), tuple(_versions(origin).items())))
    if origin.date:
        blocks.append(Text(f"The model is of {origin.date}.", "small"))
    if recipe is not None:
        settings = tuple((name, str(value)) for name, value in msgspec.to_builtins(recipe).items())
        blocks.append(Details("The whole recipe", (Table(("setting", "value"), settings),)))
    return Section("reproduce", "Do it again", tuple(blocks))


def _versions(origin: Origin) -> dict[str, str]:
    """Of the libraries: those that fitted the model, where they are known, and those that made the page."""
    now = {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    return {
        name: found if name not in origin.libraries or origin.libraries[name] == found
        else f"{origin.libraries[name]} fitted the model, {found} made this page"
        for name, found in now.items()
    }  # fmt: skip


def _fit_command(recipe: Recipe, schema: Schema, origin: Origin) -> list[str]:
    words = ["reparax", "fit", origin.data, "--out", origin.model]
    if schema.label is not None:
        words += ["--label", schema.label]
    asked = [name for name, reason in schema.excluded if reason == ASKED]
    if asked:
        words += ["--exclude", *asked]
    for name, value in chosen_fields(recipe, schema).items():
        words += _option_words(name, value)
    return words


def _option_words(name: str, value: Any) -> list[str]:
    """A setting as options of the command: a part's name, and its own options after it."""
    if isinstance(value, dict) and registry.module_of(value["name"]) is not None:
        return [f"--{name}", json.dumps(value)]
    if isinstance(value, dict):
        options = [_option_words(f"{name}.{option}", chosen) for option, chosen in value.items() if option != "name"]
        return [f"--{name}", value["name"], *chain.from_iterable(options)]
    return [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]


def chosen_fields(recipe: Recipe, schema: Schema) -> dict[str, Any]:
    """The fields of a recipe that the rules do not give by themselves, so that with these they give the recipe."""
    chosen = msgspec.to_builtins(recipe)
    if registry.module_of(recipe.name("objective")) is not None:
        # The rules would import the module of an objective, which nobody has allowed: a model is loaded without it.
        return chosen
    if suggest(schema, schema.num_examples, **chosen) != recipe:
        # One draw is the default of the objective, but not what is suggested with this posterior.
        chosen["objective.num_samples"] = recipe.option("objective", "num_samples", 1)
    for name in tuple(chosen):
        others = {field: value for field, value in chosen.items() if field != name}
        if name != "valid" and suggest(schema, schema.num_examples, **others) == recipe:
            chosen = others
    whole = schema.num_examples / (1 - recipe.valid) if recipe.valid < 1 else schema.num_examples
    if abs(held_out_share(round(whole)) - recipe.valid) <= 1e-9:
        del chosen["valid"]
    return chosen
