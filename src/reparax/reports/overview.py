"""Sections of every report: key numbers, data, training, likelihood, and how to reproduce it."""

import json
import platform
import shlex
from importlib.metadata import version
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from reparax import registry
from reparax.data import Dataset, Schema, column_lines, described
from reparax.recipe import Recipe, held_out_share, suggest
from reparax.reports.charts import Points, curves, nats, number, percent, shortened
from reparax.reports.findings import findings_of
from reparax.reports.page import Block, Code, Details, Figure, Figures, Section, Sentences, Table, Text, Tile, Tiles
from reparax.reports.study import Origin, Study
from reparax.reports.tables import mean_distance
from reparax.training import kept_record

SHOWN_GIVEN = 5
"""How many names of what is given are listed."""

SHOWN_COLUMNS = 60
CURVES = (
    ("bound", "bound on log p(x)", "the model with the highest held-out bound is kept"),
    ("kl", "KL to the prior", "how much information on each {row} the latent variables carry"),
    ("reconstruction", "reconstruction", "expected log p(x | z); higher is better"),
)


WORDS = {"good": "good", "fair": "fair", "poor": "poor", "unknown": "not known"}


def headline(study: Study) -> Section:
    """The verdict: what a person should know first, in sentences; then the bounds."""
    items = tuple(
        (found.level, WORDS[found.level], found.sentence, " ".join(filter(None, (found.cure, found.detail))))
        for found in findings_of(study)
    )
    return Section("summary", "Verdict", (Sentences(items), _bounds(study)))


def _bounds(study: Study) -> Tiles:
    """The key numbers."""
    evaluation = study.evaluation
    tiles = []
    which = "held-out" if study.held_out is not None else "given"
    if evaluation.elbo is not None and evaluation.iwae is not None:
        tiles = [
            Tile(f"ELBO, nats per {study.rows_word(1)}", nats(evaluation.elbo),
                 f"a lower bound on the log-likelihood of the {which} {study.rows_word()}; higher is better"),
            Tile(f"Log-likelihood, K = {evaluation.num_samples}", nats(evaluation.iwae),
                 f"{error_words(evaluation.iwae_standard_error)}a tighter, importance-weighted bound"),
        ]  # fmt: skip
    else:
        tiles = [
            Tile(
                "Reconstruction, nats", nats(evaluation.reconstruction), "log p(x | z); this model has no density of x"
            )
        ]
    tiles.append(
        Tile("Active latent dimensions", f"{evaluation.active_units} of {evaluation.latent_dim}", _activity(study))
    )
    if study.is_table:
        tiles.append(
            Tile(
                "Distance of synthetic rows",
                f"{mean_distance(study):.3f}",
                "from real rows, averaged over the columns; 0 is best",
            )
        )
    elif evaluation.bits_per_dim is not None:
        tiles.append(Tile("Bits per value", f"{evaluation.bits_per_dim:.3f}", "the compressed size of one value"))
    return Tiles(tuple(tiles))


def _activity(study: Study) -> str:
    active, size = study.evaluation.active_units, study.evaluation.latent_dim
    if active == size:
        return "all of them carry information on the data"
    return "none carries information on the data" if active == 0 else "the others hardly vary with the data"


def error_words(error: float | None) -> str:
    """A standard error as the start of a sentence."""
    return "" if error is None else f"\u00b1 {nats(error)} (standard error); "


def about_data(study: Study) -> Section:
    """What the data are, with the notes from reading them."""
    dataset = study.dataset
    blocks: list[Block] = [Text(_data_words(study))]
    lines = column_lines(described(dataset))
    if lines:
        rows = tuple((shortened(line.name, 60), *line[1:]) for line in lines)
        header = ("column", "kind", "missing", "values")
        blocks.append(Table(header, rows[:SHOWN_COLUMNS], frozenset({2})))
        if len(rows) > SHOWN_COLUMNS:
            more = Table(header, rows[SHOWN_COLUMNS : 10 * SHOWN_COLUMNS], frozenset({2}))
            blocks.append(Details(_counted(len(rows) - SHOWN_COLUMNS, "more column"), (more,)))
    notes = [note for note in dataset.notes if note]
    if notes:
        summary = f"{_counted(len(notes), 'note')} from reading the data"
        blocks.append(Details(summary, tuple(Text(note, "small") for note in notes[:40])))
    return Section("data", "The data", tuple(blocks))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _data_words(study: Study) -> str:
    schema, dataset = study.fitted.schema, study.dataset
    count = f"{len(dataset):,} {study.rows_word(len(dataset))}"
    fitted = f"The model was fitted to {schema.num_examples:,}"
    if study.held_out is study.dataset:
        fitted += f" other {study.rows_word(schema.num_examples)}; these were held out of the fit."
    elif study.held_out is not None:
        fitted += f" of them; {len(study.held_out):,} were held out."
    else:
        fitted += f" {study.rows_word(schema.num_examples)}, which may be different ones."
    if study.given:
        names = ", ".join(shortened(column.name, 40) for column in study.given[:SHOWN_GIVEN])
        more = f" and {len(study.given) - SHOWN_GIVEN} more" if len(study.given) > SHOWN_GIVEN else ""
        fitted += (
            f" Given are {names}{more}: these are not modeled, and likelihoods and codes are of the rest. New "
            f"{study.rows_word()} have what is given of {study.rows_word()} of the fit."
        )
    if schema.kind != "table":
        shape = " \u00d7 ".join(map(str, schema.event_shape))
        kind = {"binary": "0 or 1", "integer": "whole numbers"}.get(schema.value_kind, "real numbers")
        low, high = float(np.min(schema.low)), float(np.max(schema.high))
        return f"{count} of {shape}, {kind} from {number(low)} to {number(high)}. {fitted}"
    values = dataset.values
    missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    gaps = (
        f"{missing:,} cells ({percent(missing / values.size)}) are missing; which ones is modeled too."
        if missing
        else "No cell is missing."
    )
    left_out = len(schema.excluded)
    verb = "is" if left_out == 1 else "are"
    excluded = f" {_counted(left_out, 'column')} {verb} left out, as explained below." if left_out else ""
    return f"{count} of {_counted(len(study.columns), 'column')}. {gaps}{excluded} {fitted}"


def training(study: Study) -> Section:
    """The curves of training."""
    history, fitted = study.fitted.history, study.fitted
    if not history:
        return Section("training", "Training", (Text("The training of this model was not recorded."),))
    kept = kept_record(study.fitted.history)
    assert kept is not None
    words = (
        f"{fitted.status[:1].upper()}{fitted.status[1:]} after {history[-1].epoch:,.0f} epochs "
        f"({history[-1].step:,} steps, {history[-1].seconds:,.0f} s)."
    )
    words += f" The model of epoch {kept.epoch:,.0f} was kept" + (
        ", where the held-out bound was highest." if kept.valid else "; nothing was held out."
    )
    figures, outside = [], False
    for name, title, note in CURVES:
        if name == "kl" and not study.has_density:
            continue
        lines = [_points(study, name, part) for part in ("train", "valid")]
        if not lines[0]:
            continue
        chart, clipped = curves(*lines, kept.epoch, f"{title} over the epochs of training")
        outside = outside or clipped
        figures.append(Figure(chart, f"{title[:1].upper()}{title[1:]}", note.format(row=study.rows_word(1))))
    blocks: list[Block] = [Text(words)]
    if fitted.status == "diverged":
        blocks.append(
            Text("Training diverged; the best model before that was kept. A lower --learning-rate may help.", "warning")
        )
    note = f"Nats per {study.rows_word(1)}, averaged over the {study.rows_word()}."
    if outside:
        note += " Some values of the first steps lie outside the frame."
    blocks += [Figures(tuple(figures)), Text(note, "small")]
    return Section("training", "Training", tuple(blocks))


def _points(study: Study, name: str, part: str) -> Points:
    pairs = [(record.epoch, getattr(record, part).get(name)) for record in study.fitted.history]
    return [(epoch, value) for epoch, value in pairs if value is not None and np.isfinite(value)]


def likelihoods(study: Study) -> Section:
    """The bounds, their terms and standard errors."""
    evaluation = study.evaluation
    rows: list[tuple[str, str, str, str]] = []
    if evaluation.elbo is not None and evaluation.iwae is not None and evaluation.kl is not None:
        rows = [
            (
                "importance-weighted bound",
                f"K = {evaluation.num_samples}",
                nats(evaluation.iwae),
                _error(evaluation.iwae_standard_error),
            ),
            ("evidence lower bound (ELBO)", "", nats(evaluation.elbo), _error(evaluation.elbo_standard_error)),
            ("KL(q(z | x) || p(z))", "", nats(evaluation.kl), ""),
        ]
    rows.append(("reconstruction, E log p(x | z)", "", nats(evaluation.reconstruction), ""))
    if evaluation.bits_per_dim is not None:
        rows.append(("bits per value", "", f"{evaluation.bits_per_dim:.3f}", ""))
    words = (
        f"Measured on {study.evaluated_words}, in nats per {study.rows_word(1)}. Densities depend on the units of the "
        "data. Higher is better. On average, each bound lies below the log-likelihood, and the importance-weighted "
        f"bound is closer to it. The standard errors are over the {study.rows_word()}."
    )
    blocks: list[Block] = [Text(words)]
    if not study.has_density:
        blocks.append(Text("A deterministic autoencoder has no density of x, and thus no bounds.", "warning"))
    blocks.append(Table(("", "samples", "value", "standard error"), tuple(rows), frozenset({2, 3})))
    return Section("likelihood", "Likelihood", tuple(blocks))


def _error(error: float | None) -> str:
    return "" if error is None else f"\u00b1 {nats(error)}"


DEFAULT_SAMPLES = 100
LIBRARIES = ("reparax", "jax", "numpyro", "equinox", "numpy")


def reproduce(study: Study) -> Section:
    """The commands, versions and settings that reproduce the model and the report."""
    recipe, origin = study.fitted.recipe, study.origin
    report = ["reparax", "report", origin.model, origin.data]
    if study.label is not None:
        report += ["--label", study.label]
    if study.num_samples != DEFAULT_SAMPLES:
        report += ["--samples", str(study.num_samples)]
    if study.seed != 0:
        report += ["--seed", str(study.seed)]
    blocks: list[Any] = []
    if recipe is None:
        blocks.append(Text("The model was built from custom parts; no command reproduces it."))
        blocks.append(Code(shlex.join(report)))
    else:
        blocks.append(
            Text(
                "These commands reproduce the model and this report; all other settings follow from the data. On the "
                "same machine with the same versions, the results are identical to the last bit."
            )
        )
        blocks.append(Code("\n".join(map(shlex.join, (_fit_command(study, recipe), report)))))
        if study.columns:
            blocks.append(Text("If the fit was given a --schema file, add it.", "small"))
    blocks.append(Table(("", "version"), tuple(_versions(origin).items())))
    if origin.date:
        blocks.append(Text(f"The model was fitted on {origin.date}.", "small"))
    if recipe is not None:
        settings = tuple((name, str(value)) for name, value in msgspec.to_builtins(recipe).items())
        blocks.append(Details("The full recipe", (Table(("setting", "value"), settings),)))
    return Section("reproduce", "Reproduce", tuple(blocks))


def _versions(origin: Origin) -> dict[str, str]:
    """Versions of the libraries: those that made the report, and those that fitted the model if they differ."""
    now = {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    return {
        name: current if name not in origin.libraries or origin.libraries[name] == current
        else f"{origin.libraries[name]} for the model, {current} for this report"
        for name, current in now.items()
    }  # fmt: skip


def _fit_command(study: Study, recipe: Recipe) -> list[str]:
    schema, origin = study.fitted.schema, study.origin
    words = ["reparax", "fit", origin.data, "--out", origin.model]
    if schema.label is not None:
        words += ["--label", schema.label]
    if schema.left_out_as_asked:
        words += ["--exclude", *schema.left_out_as_asked]
    if schema.given is not None:
        words += ["--given", ",".join(column.name for column in study.given)]
    is_of_fit = study.fit_rows is not None or study.is_data_of_fit
    for name, value in chosen_fields(recipe, schema, study.dataset if is_of_fit else None).items():
        words += _option_words(name, value)
    return words


def _option_words(name: str, value: Any) -> list[str]:
    """A setting as options of the command: the name of a part, followed by the options of the part."""
    if isinstance(value, dict) and registry.module_of(value["name"]) is not None:
        return [f"--{name}", json.dumps(value)]
    if isinstance(value, dict):
        options = [_option_words(f"{name}.{option}", chosen) for option, chosen in value.items() if option != "name"]
        return [f"--{name}", value["name"], *chain.from_iterable(options)]
    return [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]


def chosen_fields(recipe: Recipe, schema: Schema, dataset: Dataset | None = None) -> dict[str, Any]:
    """The fields of a recipe that differ from what `suggest` chooses; given these, it suggests the recipe.

    Args:
        recipe: The recipe.
        schema: The schema of the rows of the fit.
        dataset: The data of the fit with the rows that were held out, which the suggestions were made for; without
            them, their number and their gaps are inferred from those of the fit.
    """
    chosen = msgspec.to_builtins(recipe)
    if registry.module_of(recipe.name("objective")) is not None:
        # `suggest` would import the module of the objective, which loading the model did not and nobody has allowed.
        return chosen
    if dataset is not None:
        return _without_suggestions(recipe, described(dataset), len(dataset))
    near = round(schema.num_examples / (1 - recipe.valid)) if recipe.valid < 1 else schema.num_examples
    return min((_without_suggestions(recipe, schema, total) for total in (near, near + 1, near - 1)), key=len)


def _without_suggestions(recipe: Recipe, schema: Schema, total: int) -> dict[str, Any]:
    """The fields that `plan` would not suggest for so many rows, those held out included."""
    count = max(1, round(total * (1 - recipe.valid)))
    chosen = msgspec.to_builtins(recipe)
    if suggest(schema, count, **chosen) != recipe:
        # With some posteriors, `suggest` chooses more draws than the objective has by default.
        chosen["objective.num_samples"] = recipe.option("objective", "num_samples", 1)
    for name in tuple(chosen):
        others = {field: value for field, value in chosen.items() if field != name}
        if name != "valid" and suggest(schema, count, **others) == recipe:
            chosen = others
    default = 0.0 if recipe.trim else held_out_share(total)
    if abs(default - recipe.valid) <= 1e-9:
        del chosen["valid"]
    return {name: value for name, value in chosen.items() if name != "context_dim"}  # it follows from what is given
