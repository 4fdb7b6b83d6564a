"""The model card: a ``README.md`` in the folder of a saved model, as hubs of models show it.

It says what the data were, how the model was made, how good it was on held-out examples, what it is not good for, and
how to load it. It holds nothing of the data that ``model.json`` does not hold, and the same model gives the same bytes.
"""

import json
import re
from collections.abc import Mapping, Sequence

import msgspec

from reparax.data import Schema, relation_lines
from reparax.recipe import FittedModel
from reparax.summary import in_words
from reparax.training import Record, kept_record

MOST_COLUMNS = 200
LONGEST_NAME = 120
TAGS = ("reparax", "jax", "variational-autoencoder", "generative-model")
TAG_OF = {"table": "tabular", "images": "images", "array": "arrays", "views": "multimodal"}
TASK_OF = {"images": "unconditional-image-generation"}
BOUND_OF = {"elbo": "evidence lower bound (ELBO)", "iwae": "importance-weighted bound"}


def model_card(fitted: FittedModel, libraries: Mapping[str, str], num_weights: int) -> str:
    """The text of ``README.md``: a header of metadata, and Markdown.

    Args:
        fitted: The fitted model.
        libraries: The versions of the libraries that save it, by name.
        num_weights: How many numbers the model has.
    """
    sections = (
        _header(fitted.schema),
        _title(fitted, num_weights),
        _use(fitted),
        _data(fitted),
        _guarantee(fitted),
        _figures(fitted),
        _recipe(fitted),
        _limits(fitted),
        _libraries(libraries),
    )
    return "\n\n".join(section.rstrip() for section in sections if section) + "\n"


def escaped(text: str) -> str:
    """Text from the user's data as it is shown by Markdown: no markup, no HTML, one line.

    Every character of ASCII that can mean something to Markdown or HTML becomes a character reference, so that it is
    shown and never interpreted, in tables too. Control characters, and those that change the direction of text, are
    replaced.
    """
    line = " ".join(
        re.sub(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]", "\ufffd", text).split()
    )
    line = line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 1]}\u2026"
    return re.sub(r"[!-$&-+\-./:-@\[-`{-~]", lambda found: f"&#{ord(found[0])};", line)


def _header(schema: Schema) -> str:
    """The metadata that hubs read: no word of it comes from the data."""
    tags = [*TAGS, TAG_OF[schema.kind]]
    lines = ["---", "library_name: reparax", "tags:", *(f"- {tag}" for tag in tags)]
    if schema.kind in TASK_OF:
        lines.append(f"pipeline_tag: {TASK_OF[schema.kind]}")
    return "\n".join([*lines, "---"])


def _title(fitted: FittedModel, num_weights: int) -> str:
    recipe, schema = fitted.recipe, fitted.schema
    kind = {"table": "a table", "images": "images", "array": "an array", "views": "several views"}[schema.kind]
    is_bound = fitted.model.posterior.has_density
    what = "variational autoencoder" if is_bound else "autoencoder"
    parts = "built from custom parts" if recipe is None else f"with {_plural(recipe.latent_dim, 'latent dimension')}"
    return (
        f"# A model of {kind}\n\nA {what} {parts} and {num_weights:,} weights, fitted by "
        f"reparax to {_examples(schema)}."
    )


def _use(fitted: FittedModel) -> str:
    """How to load it, on the command line and in Python."""
    schema = fitted.schema
    data, out = ("new.csv", "drawn.csv") if schema.kind in {"table", "views"} else ("new.npy", "drawn.npy")
    python_data, impute = f'"{data}"', schema.kind == "table"
    if schema.views:
        files = [(name, f"{name}.csv" if view.kind == "table" else f"{name}.npy") for name, view in schema.views]
        data = " ".join(f"--view {name}={file}" for name, file in files)
        python_data, impute = f"rx.Views({dict(files)!r})", True
    custom = fitted.recipe is None
    modules = () if fitted.recipe is None else fitted.recipe.own_modules()
    lines = [
        "reparax info MODEL",
        f"reparax encode MODEL {data} -o codes.npy",
        f"reparax score MODEL {data} -o scores.csv",
    ]
    lines += [f"reparax sample MODEL -n 100 -o {out}"]
    if impute:
        lines.append(f"reparax impute MODEL {data} -o filled.csv")
    allow = f", allow={list(modules)!r}" if modules else ""
    load = (
        'rx.load("MODEL", model=your_model)  # a custom model: build it first' if custom else f'rx.load("MODEL"{allow})'
    )
    python = [
        "import jax", "import reparax as rx", "", f"fitted = {load}", f"codes = rx.encode(fitted, {python_data})",
        f"scores = rx.score(fitted, {python_data})", "drawn = rx.sample(fitted, 100, key=jax.random.key(0))",
    ]  # fmt: skip
    shell = [] if custom else ["```sh", "pip install 'reparax[all]'", *lines, "```", ""]
    words = "MODEL is this folder. Nothing in it is executed when it is loaded; it holds JSON and safetensors."
    return "\n".join(["## Use", "", words, "", *shell, "```python", *python, "```"])


def _data(fitted: FittedModel) -> str:
    """The summary that ``model.json`` holds, and nothing beyond it."""
    of_what = "as far as noisy counts show them" if fitted.guarantee else "those of the rows of the fit"
    if fitted.schema.views:
        of_each = (f"### {name}\n\n{_of_values(view, of_what)}" for name, view in fitted.schema.views)
        words = f"Fitted to {_examples(fitted.schema)} with several views, any of which may be missing."
        return "\n\n".join(["## Data", words, *of_each])
    return f"## Data\n\n{_of_values(fitted.schema, of_what)}"


def _of_values(schema: Schema, of_what: str) -> str:
    shape = " x ".join(map(str, schema.event_shape))
    words = f"Fitted to {_examples(schema)} of shape {shape}, with {schema.value_kind} values"
    if not schema.columns:
        ends = "" if schema.kind != "images" else f" from {schema.low:g} to {schema.high:g}"
        words = f"{words}{ends}."
    else:
        words = f"{words}. Ranges and categories are {of_what}."
    parts = [words]
    lines = _lines(schema)
    if lines:
        parts.append(
            _table(
                ("column", "kind", "missing", "values"), [tuple(map(escaped, line)) for line in lines[:MOST_COLUMNS]]
            )
        )
    if len(lines) > MOST_COLUMNS:
        parts.append(f"And {len(lines) - MOST_COLUMNS} more columns.")
    relations = relation_lines(schema)
    if relations:
        parts.append(
            "\n".join(["In every row:", "", *(f"- {escaped(line.text)}" for line in relations[:MOST_COLUMNS])])
        )
    if schema.given is not None:
        names = ", ".join(escaped(column.name) for column in schema.given_columns)
        parts.append(f"Given and not modeled: {names}.")
    return "\n\n".join(parts)


def _lines(schema: Schema) -> list[tuple[str, str, str, str]]:
    """One line for each column, those given and left out too; without polars, which models of arrays do not need."""
    given = {column.name for column in schema.given_columns}
    columns = (schema.joint.columns if schema.columns else schema.given_columns) or ()
    lines = [
        (
            column.name,
            f"{column.kind}, given" if column.name in given else column.kind,
            f"{100 * column.missing:.1f} %" if column.missing else "",
            in_words(column),
        )
        for column in columns
    ]
    return lines + [(name, "left out", "", reason) for name, reason in schema.excluded]


def _guarantee(fitted: FittedModel) -> str:
    """What a differentially private fit guarantees."""
    if fitted.guarantee is None:
        return ""
    return (
        f"## Privacy\n\nThis folder is {fitted.guarantee}. That holds for the weights and the description of the "
        "columns; their names, and whether they are numbers, dates or text, are taken to be no secret. Everything that "
        "is made of the model alone, such as samples, has the same guarantee."
    )


def _figures(fitted: FittedModel) -> str:
    """The figures of the look at held-out examples that the weights are from."""
    record = kept_record(fitted.history)
    if record is None:
        why = "figures of training would not be private" if fitted.guarantee else "the record of training is empty"
        return f"## Figures\n\nNone: {why}."
    terms, where = (record.valid, "held-out") if record.valid else (record.train, "training")
    name = "bound" if fitted.recipe is None else BOUND_OF.get(fitted.recipe.name("objective"), "bound")
    if not fitted.model.posterior.has_density:
        name = "reconstruction, log p(x given z)"
    rows = [(name, _number(terms, "bound"), _error(terms))]
    if fitted.model.posterior.has_density:
        rows += [("reconstruction, E log p(x given z)", _number(terms, "reconstruction"), "")]
        rows += [("KL from the posterior to the prior", _number(terms, "kl"), "")]
    rows = [row for row in rows if row[1]]
    parts = ["## Figures", _about_figures(fitted, record, where)]
    parts.append(_table((f"{where} examples", "nats per example", "standard error"), rows))
    return "\n\n".join(parts)


def _about_figures(fitted: FittedModel, record: Record, where: str) -> str:
    words = (
        f"Means over the {where} examples at epoch {record.epoch:g}, whose weights were kept; higher bounds are better."
    )
    if where == "held-out":
        return (
            f"{words} These examples also chose the epoch, so that the bound is a little too high; measure on other "
            "data with `reparax evaluate`. Densities depend on the units of the data. If the prior was fitted again "
            "later, the figures are those before."
        )
    return f"{words} Nothing was held out, so that these say nothing of new data; measure it with `reparax evaluate`."


def _number(terms: Mapping[str, float], name: str) -> str:
    return f"{terms[name]:.2f}" if name in terms else ""


def _error(terms: Mapping[str, float]) -> str:
    return f"\u00b1 {terms['bound_standard_error']:.2f}" if "bound_standard_error" in terms else "unknown"


def _recipe(fitted: FittedModel) -> str:
    if fitted.recipe is None:
        return "## Recipe\n\nNone: the model was built from custom parts, and only code can build it again."
    text = json.dumps(msgspec.to_builtins(fitted.recipe), indent=2, sort_keys=True).replace("`", "\\u0060")
    return f"## Recipe\n\nTraining ended: {fitted.status}.\n\n```json\n{text}\n```"


def _limits(fitted: FittedModel) -> str:
    """What the model is not good for, as far as it follows from what it is."""
    schema = fitted.schema
    lines = [
        "The model knows the examples of its fit. On data of another source, with other units, or of another time, its "
        "codes, scores and samples can be wrong without an error.",
        "Samples resemble the data of the fit, with what is unfair or wrong in them, and are no evidence about the "
        "world.",
        "Neither the weights nor the summary of the data above are anonymous: ranges and categories are shown as they "
        "are, and privacy is not guaranteed. `reparax evaluate --privacy` measures what is given away.",
    ]
    if fitted.model.posterior.has_density:
        lines.append(
            "Log densities are lower bounds, estimated from random draws, and comparable for the same columns only."
        )
    else:
        lines.append(
            "A deterministic autoencoder has no density of an example: its anomaly score is an error of reconstruction."
        )
    if schema.kind == "table":
        lines.append("A category that did not occur in the fit is taken as one that is improbable, with a note.")
    if fitted.status in {"interrupted", "diverged"}:
        lines.append(f"Training was not finished: {fitted.status}.")
    return "\n".join(["## Limits", "", *(f"- {line}" for line in lines)])


def _libraries(libraries: Mapping[str, str]) -> str:
    words = ", ".join(f"{name} {version}" for name, version in libraries.items())
    return f"## Made with\n\n{words}."


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _examples(schema: Schema) -> str:
    word = {"table": "row", "images": "image"}.get(schema.kind, "example")
    return _plural(schema.num_examples, word)


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
