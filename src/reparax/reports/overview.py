"""Sections of every report: what was fitted, on what data, how training went, how probable the data are."""

import json
import platform
import shlex
from importlib.metadata import version
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from reparax import registry
from reparax.data import Schema, column_lines
from reparax.recipe import Recipe, held_out_share, suggest
from reparax.reports.charts import Points, curves, nats, number, percent, shortened
from reparax.reports.page import Block, Code, Details, Figure, Figures, Section, Table, Text, Tile, Tiles
from reparax.reports.study import Origin, Study
from reparax.reports.tables import mean_distance

SHOWN_COLUMNS = 60
CURVES = (
    ("bound", "bound on log p(x)", "what models are chosen by; higher is better"),
    ("kl", "KL to the prior", "how much of each {row} the latent variables carry"),
    ("reconstruction", "reconstruction", "expected log p(x | z); higher is better"),
)


def headline(study: Study) -> Section:
    """The key numbers, and a warning where the latent variables carry nothing."""
    found = study.evaluation
    tiles = []
    where = "held out" if study.held_out is not None else "given"
    if found.elbo is not None and found.iwae is not None:
        tiles = [
            Tile(f"ELBO, nats per {study.rows_word(1)}", nats(found.elbo),
                 f"a lower bound on the log-likelihood of the {study.rows_word()} {where}; higher is better"),
            Tile(f"Log-likelihood, K = {found.num_samples}", nats(found.iwae),
                 f"{error_words(found.iwae_standard_error)}a tighter bound, importance-weighted"),
        ]  # fmt: skip
    else:
        tiles = [Tile("Reconstruction, nats", nats(found.reconstruction), "log p(x | z): this model has no density")]
    tiles.append(Tile("Active latent dimensions", f"{found.active_units} of {found.latent_dim}", _activity(study)))
    if study.is_table:
        tiles.append(
            Tile(
                "Synthetic rows, distance",
                f"{mean_distance(study):.3f}",
                "from real ones, mean over columns; 0 is none",
            )
        )
    elif found.bits_per_dim is not None:
        tiles.append(Tile("Bits per value", f"{found.bits_per_dim:.3f}", "what one pixel would take compressed"))
    return Section("summary", "In short", (Tiles(tuple(tiles)), *collapse(study)))


def _activity(study: Study) -> str:
    active, size = study.evaluation.active_units, study.evaluation.latent_dim
    if active == size:
        return "all of them carry something on the data"
    return "none carries anything on the data" if active == 0 else "the others carry nothing on the data"


def error_words(error: float | None) -> str:
    """A standard error in words."""
    return "" if error is None else f"\u00b1 {nats(error)} (standard error); "


def collapse(study: Study) -> tuple[Text, ...]:
    """What is to be said of latent dimensions that carry nothing."""
    active, size = study.evaluation.active_units, study.evaluation.latent_dim
    if active == 0:
        return (
            Text(
                "Posterior collapse: no latent dimension carries information on the data. The map, the embeddings and "
                "the reconstructions below say nothing; synthetic data have the columns right but not what they have "
                "to do with each other. Fit again with --warmup-epochs, --free-bits 0.1, --beta 0.5 or more epochs.",
                "warning",
            ),
        )
    if size >= 4 and active <= size // 4:
        return (
            Text(
                f"Only {active} of {size} latent dimensions are used; a smaller --latent-dim would do as well. This "
                "does no harm.",
                "warning",
            ),
        )
    return ()


def about_data(study: Study) -> Section:
    """What the data are, and what was noticed."""
    schema, dataset = study.fitted.schema, study.dataset
    blocks: list[Block] = [Text(_data_words(study))]
    lines = column_lines(schema)
    if lines:
        rows = tuple((shortened(line.name, 60), *line[1:]) for line in lines)
        header = ("column", "kind", "missing", "values")
        blocks.append(Table(header, rows[:SHOWN_COLUMNS], frozenset({2})))
        if len(rows) > SHOWN_COLUMNS:
            more = Table(header, rows[SHOWN_COLUMNS : 10 * SHOWN_COLUMNS], frozenset({2}))
            blocks.append(Details(f"{len(rows) - SHOWN_COLUMNS} more columns", (more,)))
    notes = [note for note in dataset.notes if note]
    if notes:
        blocks.append(Details(f"{len(notes)} notes from reading", tuple(Text(note, "small") for note in notes[:40])))
    return Section("data", "The data", tuple(blocks))


def _data_words(study: Study) -> str:
    schema, dataset = study.fitted.schema, study.dataset
    count = f"{len(dataset):,} {study.rows_word(len(dataset))}"
    fitted = f"The model was fitted to {schema.num_examples:,}"
    if study.held_out is not None:
        fitted += f" of them; {len(study.held_out):,} were held out."
    else:
        fitted += f" {study.rows_word(schema.num_examples)}; these need not be among them."
    if schema.kind != "table":
        shape = " \u00d7 ".join(map(str, schema.event_shape))
        kind = {"binary": "0 or 1", "integer": "whole numbers"}.get(schema.value_kind, "real numbers")
        low, high = float(np.min(schema.low)), float(np.max(schema.high))
        return f"{count} of {shape}, {kind} from {number(low)} to {number(high)}. {fitted}"
    values = dataset.values
    missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    gaps = (
        f"{missing:,} cells ({percent(missing / values.size)}) are missing; they are left out of the "
        "likelihood, not filled."
        if missing
        else "No cell is missing."
    )
    left_out = f" {len(schema.excluded)} columns are left out, for the reasons below." if schema.excluded else ""
    return f"{count} of {values.shape[1]} columns. {gaps}{left_out} {fitted}"


def training(study: Study) -> Section:
    """The curves of training."""
    history, fitted = study.fitted.history, study.fitted
    if not history:
        return Section("training", "Training", (Text("There is no record of the training of this model."),))
    held_out = [record for record in history if record.valid]
    kept = max(held_out, key=lambda record: record.valid["bound"]) if held_out else history[-1]
    words = (
        f"{fitted.status[:1].upper()}{fitted.status[1:]} after {history[-1].epoch:,.0f} epochs "
        f"({history[-1].step:,} steps, {history[-1].seconds:,.0f} s)."
    )
    words += f" The model that is kept is of epoch {kept.epoch:,.0f}" + (
        ", where the held-out bound was highest." if held_out else "; nothing was held out."
    )
    figures, outside = [], False
    for name, title, note in CURVES:
        if name == "kl" and not study.has_density:
            continue
        lines = [_points(study, name, part) for part in ("train", "valid")]
        if not lines[0]:
            continue
        drawn, cut = curves(*lines, kept.epoch, f"{title} over the epochs of training")
        outside = outside or cut
        figures.append(Figure(drawn, f"{title[:1].upper()}{title[1:]}", note.format(row=study.rows_word(1))))
    blocks: list[Block] = [Text(words)]
    if fitted.status == "diverged":
        blocks.append(
            Text("Training diverged; the best model before is kept. A lower --learning-rate may help.", "warning")
        )
    tail = " Values of the first steps lie outside the frame." if outside else ""
    blocks += [Figures(tuple(figures)), Text(f"Nats per {study.rows_word(1)}, means over the examples.{tail}", "small")]
    return Section("training", "Training", tuple(blocks))


def _points(study: Study, name: str, part: str) -> Points:
    pairs = [(record.epoch, getattr(record, part).get(name)) for record in study.fitted.history]
    return [(epoch, value) for epoch, value in pairs if value is not None and np.isfinite(value)]


def likelihoods(study: Study) -> Section:
    """The bounds, their parts and standard errors, and the columns' parts."""
    found = study.evaluation
    rows: list[tuple[str, str, str, str]] = []
    if found.elbo is not None and found.iwae is not None and found.kl is not None:
        rows = [
            (
                "importance-weighted bound",
                f"K = {found.num_samples}",
                nats(found.iwae),
                _error(found.iwae_standard_error),
            ),
            ("evidence lower bound (ELBO)", "", nats(found.elbo), _error(found.elbo_standard_error)),
            ("KL(q(z | x) || p(z))", "", nats(found.kl), ""),
        ]
    rows.append(("reconstruction, E log p(x | z)", "", nats(found.reconstruction), ""))
    if found.bits_per_dim is not None:
        rows.append(("bits per value", "", f"{found.bits_per_dim:.3f}", ""))
    words = (
        f"Measured on {study.evaluated_words}, in nats per {study.rows_word(1)}, in the units of the data: a change of "
        "units changes them. Higher is better. Each bound lies below the log-likelihood on average, the "
        "importance-weighted one closer; the standard error is that over the rows."
    )
    blocks: list[Block] = [Text(words)]
    if not study.has_density:
        blocks.append(Text("A deterministic autoencoder has no density of x: there is no bound to report.", "warning"))
    blocks.append(Table(("", "samples", "value", "standard error"), tuple(rows), frozenset({2, 3})))
    return Section("likelihood", "Likelihood", tuple(blocks))


def _error(error: float | None) -> str:
    return "" if error is None else f"\u00b1 {nats(error)}"


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
