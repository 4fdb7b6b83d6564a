"""Columns and recipes as text: what was chosen, what was suggested, and why."""

from typing import TYPE_CHECKING

from reparax.cli.terminal import bound_name

if TYPE_CHECKING:
    from reparax.data import Dataset, Schema, Stream
    from reparax.recipe import Recipe


MAX_COLUMNS = 30


def columns_text(schema: "Schema") -> list[str]:
    """One line for each column of a table: name, kind, fraction missing, values; none for images and arrays."""
    from reparax.data import column_lines

    if schema.views:
        titles = {
            name: f"view {name}: {view.kind} of shape {'x'.join(map(str, view.event_shape))}, {_values(view)}"
            for name, view in schema.views
        }
        return [line for name, view in schema.views for line in (titles[name], *columns_text(view))]
    lines = column_lines(schema)
    shown = lines[:MAX_COLUMNS]
    if not shown:
        return []
    widths = [max(len(getattr(line, field)) for line in shown) for field in ("name", "kind", "missing")]
    text = [
        f"  {line.name:{widths[0]}}  {line.kind:{widths[1]}}  {line.missing:>{widths[2]}}  {line.values}".rstrip()
        for line in shown
    ]
    return text + ([f"  and {len(lines) - len(shown)} more"] if len(lines) > len(shown) else [])


MAX_RELATIONS = 12


def relations_text(schema: "Schema") -> list[str]:
    """One line for each relation between the columns of a fit, found or stated."""
    from reparax.data import relation_lines

    lines = [f"relation    {line.text}  ({'stated' if line.stated else 'found'})" for line in relation_lines(schema)]
    more = len(lines) - MAX_RELATIONS
    return lines[:MAX_RELATIONS] + ([f"relation    and {more} more"] if more > 0 else [])


def data_line(dataset: "Dataset | Stream") -> str:
    """One line on the data: the number and the kind of the examples."""
    schema = dataset.schema
    if schema.views:
        sizes = ", ".join(f"{name} ({'x'.join(map(str, view.event_shape))})" for name, view in schema.views)
        return f"{len(dataset)} examples with the views {sizes}"
    shape = "x".join(map(str, schema.event_shape))
    if schema.kind == "images":
        return f"{len(dataset)} images of {shape}, {_values(schema)}"
    if schema.kind == "table":
        return f"{len(dataset)} rows of {shape} column{'s' if shape != '1' else ''}, {_values(schema)}"
    return f"{len(dataset)} examples of shape {shape}, {_values(schema)}"


def recipe_lines(recipe: "Recipe", chosen: frozenset[str], dataset: "Dataset | Stream") -> list[str]:
    """One line for each choice, with the reason if it was suggested.

    Args:
        recipe: The recipe.
        chosen: The names of the fields that the user chose.
        dataset: The data.
    """
    held_out = round(len(dataset) * recipe.valid)
    training = (
        f"at most {recipe.epochs} epochs in batches of {recipe.batch_size}, learning rate {recipe.learning_rate:g}"
    )
    patience = f"after {recipe.patience} epochs without a better held-out {bound_name(recipe.name('objective'))}"
    steps = recipe.epochs * max(1, (len(dataset) - held_out) // recipe.batch_size)
    rows = [
        ("data", f"{data_line(dataset)}; {f'{held_out} held out' if held_out else 'none held out'}", ""),
        (
            "likelihood",
            _part(recipe, "likelihood"),
            _why(
                "likelihood",
                chosen,
                "a table"
                if dataset.schema.kind == "table" and dataset.schema.value_kind != "counts"
                else _values(dataset.schema),
            ),
        ),
        ("posterior", _posterior(recipe), _why("posterior", chosen, _default(dataset.schema))),
        ("prior", _part(recipe, "prior"), _why("prior", chosen, "the default of this posterior")),
        ("network", _network(recipe), _why("network", chosen, _size(dataset))),
        ("objective", _objective(recipe), _why("objective", chosen, "the default")),
        ("training", training, _why("epochs", chosen, f"about {steps} steps")),
        ("stopping", patience if held_out else "after all epochs, as nothing is held out", ""),
    ]
    if dataset.schema.given is not None:
        names = ", ".join(column.name for column in dataset.schema.given_columns)
        rows.insert(1, ("given", f"{names}: known, not modeled", "chosen"))
    if recipe.ensemble > 1:
        rows.append(("ensemble", f"{recipe.ensemble} models at once", "chosen"))
    if recipe.dp:
        rows.append(("privacy", f"epsilon {recipe.dp:g}, delta {recipe.dp_delta:g}, without checkpoints", "chosen"))
    if recipe.binarize != "none":
        rows.insert(1, ("binarize", recipe.binarize, "chosen"))
    return [f"{name:<11} {text}{f'  ({reason})' if reason else ''}" for name, text, reason in rows]


def _why(field: str, chosen: frozenset[str], reason: str) -> str:
    return "chosen" if field in chosen else f"suggested: {reason}"


def _default(schema: "Schema") -> str:
    return "the default for several views" if schema.views else "the default of this objective"


def _values(schema: "Schema") -> str:
    if schema.views:
        return "one for each view"
    if schema.value_kind == "mixed":
        return "columns of several kinds"
    if schema.value_kind == "binary":
        return "0 or 1"
    if schema.value_kind == "counts":
        return "counts"
    kind = "whole numbers" if schema.value_kind == "integer" else "real numbers"
    if schema.kind != "images":
        return kind
    return f"{kind} from {schema.low:g} to {schema.high:g}"


def _size(dataset: "Dataset | Stream") -> str:
    values = 1
    for length in dataset.schema.event_shape:
        values *= length
    return f"{len(dataset)} examples of {values} value{'s' if values != 1 else ''}"


def _posterior(recipe: "Recipe") -> str:
    return f"{_part(recipe, 'posterior')}, {recipe.latent_dim} latent dimension{'s' if recipe.latent_dim != 1 else ''}"


def _part(recipe: "Recipe", field: str) -> str:
    """The name of a part, and its options that differ from their defaults."""
    chosen = recipe.options(field).items()
    return ", ".join([recipe.name(field), *(f"{name.replace('_', ' ')} {value}" for name, value in chosen)])


def _network(recipe: "Recipe") -> str:
    name = recipe.name("network")
    if name == "linear":
        return name
    if name in {"convolutional", "residual"}:
        return f"{name}, {recipe.depth} halvings from {recipe.width} channels"
    return f"{_part(recipe, 'network')}, {recipe.depth} layer{'s' if recipe.depth != 1 else ''} of {recipe.width}"


def _objective(recipe: "Recipe") -> str:
    warmup = [f"KL warm-up over {recipe.warmup_epochs} epochs"] if recipe.warmup_epochs else []
    return ", ".join([_part(recipe, "objective"), *warmup])


def blocks_text(stream: "Stream") -> str:
    """That data are read in blocks, and what of them is in memory."""
    known = f"{len(stream.rows):,} of {len(stream):,} rows"
    return f"the data are read in blocks while they are trained on; a sample of {known} is in memory"
