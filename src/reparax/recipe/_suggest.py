"""The rules that fill a recipe from the data: what a good model of such data looks like, before any is fitted."""

from typing import Any

import msgspec

from reparax import registry
from reparax.data import Schema
from reparax.errors import RecipeError
from reparax.objectives import AbstractCompanionObjective
from reparax.parts import Part
from reparax.recipe._recipe import Choice, Recipe, checked, choice, has_option, name_of, with_options

LONG_RUN = 8000
"""Steps after which a default model is trained, as epochs permit."""

LONG_RUN_OF_ROWS = {0: 4000, 2000: 8000, 10_000: 3500}
"""The same for rows of tables, from so many rows on: fewer steps again where batches are large."""
SHORT_RUN_OF_ROWS = 1000
"""The same where anomalies are looked for (``trim``)."""

SMALLEST_WIDTH = 64
"""Units of a hidden layer for few rows, and where anomalies are looked for."""

HIDDEN_CELLS = 0.6
"""The share of a table row's cells, at most, that the encoder learns to do without."""
FEW_MISSING = 0.05
"""The share of missing cells from which on a table teaches that by itself."""
WEIGHTS_COUNT_AS = 100
"""As many rows as the pull of the weights to zero counts: one for few rows, hardly any for many."""

IN_TURN = ("objective", "prior", "likelihood", "network", "posterior")
"""The parts that an option is looked for in, where it does not say whose it is."""

DISCRETE_SPACES = frozenset({"binary", "one-hot", "count"})


def suggest(schema: Schema, num_examples: int, **chosen: Any) -> Recipe:
    """A recipe for data of a schema; what is chosen stays, the rest follows by rules.

    Likelihood by the kind of values: tables, columns; 0/1, Bernoulli; whole pixel levels, discretized logistic;
    intensities in an interval, continuous Bernoulli; counts, negative binomial; real numbers, Normal. Networks:
    perceptrons, or convolutions for images beyond 1024 values. Batches of 100 (64 and 32 for small data), and as many
    epochs as make about 8000 steps, at least 20: training stops earlier by itself. Learning rate 0.001, or 0.003 for
    perceptrons on 10,000 examples and more.

    Rows of tables: 3500 to 8000 steps in batches of 32 to 256, the KL warmed up, weights pulled to zero the more the
    fewer rows there are, from 2000 rows on with a coupling flow as prior; where hardly a cell is missing, the encoder
    learns to do without some. Where rows are trimmed, about 1000 steps of a small network with the plain prior.

    Args:
        schema: What the data are.
        num_examples: How many examples there are to train on.
        **chosen: Fields of `Recipe` that are decided; None leaves one open.

    Raises:
        RecipeError: A field that does not exist, or a setting out of its range.
    """
    fields = {field.name for field in msgspec.structs.fields(Recipe)}
    given = {name: value for name, value in chosen.items() if value is not None}
    options = {name: given.pop(name) for name in list(given) if name not in fields}
    given = {
        name: choice(name, value) if name in registry.ROOM_OF else checked(name, value) for name, value in given.items()
    }
    whole: dict[str, Any] = _rules(schema, num_examples, given) | given
    if not _draws_are_chosen(chosen):
        whole = _more_draws(whole)
    for name, value in options.items():
        field, option = _place(name, whole)
        whole[field] = with_options(field, whole[field], {option: value})
    return Recipe(**whole)


def _place(name: str, whole: dict[str, Any]) -> tuple[str, str]:
    """The part that an option belongs to: ``prior.num_components``, or ``num_components`` of the first that has it.

    Raises:
        RecipeError: No part has it.
    """
    field, dot, option = name.partition(".")
    if dot and field in registry.ROOM_OF:
        return field, option
    having = [field for field in IN_TURN if has_option(field, whole[field], name)]
    if not having:
        chosen = ", ".join(name_of(whole[field]) for field in IN_TURN)
        raise RecipeError(
            expected="fields of a recipe, or options of its parts",
            got=f"{name}, which none of {chosen} has",
            cure="see reparax.recipe.Recipe for the fields, and docs/parts.md for the options",
        )
    return having[0], name


def _draws_are_chosen(chosen: dict[str, Any]) -> bool:
    objective = chosen.get("objective")
    given = isinstance(objective, Part) or (isinstance(objective, dict) and "num_samples" in objective)
    return given or any(chosen.get(name) is not None for name in ("num_samples", "objective.num_samples"))


def _more_draws(whole: dict[str, Any]) -> dict[str, Any]:
    """Gradients through discrete latent variables are noisier: four draws where no number is chosen."""
    space = registry.load("posteriors", name_of(whole["posterior"])).latent_space
    objective = whole["objective"]
    if space not in DISCRETE_SPACES or name_of(objective) == "iwae":
        return whole
    if not has_option("objective", objective, "num_samples"):
        return whole
    return whole | {"objective": with_options("objective", objective, {"num_samples": 4})}


def held_out_share(num_examples: int) -> float:
    """The fraction of the data that is held out: a tenth, but no more than a thousand examples."""
    return min(0.1, 1000 / max(1, num_examples))


def _rules(schema: Schema, num_examples: int, given: dict[str, Any]) -> dict[str, Any]:
    objective = given.get("objective", "elbo")
    plain = "deterministic" if name_of(objective) == "reconstruction" else "diagonal-normal"
    posterior = given.get("posterior", plain)
    likelihood = "bernoulli" if given.get("binarize", "none") != "none" else _likelihood(schema)
    parts = {
        "objective": objective,
        "posterior": posterior,
        "prior": registry.load("posteriors", name_of(posterior)).default_prior,
        "likelihood": given.get("likelihood", likelihood),
        "network": given.get("network", _network(schema, schema.summary().size)),
    }
    # Gradients through discrete latent variables are noisier: a lower rate.
    discrete = registry.load("posteriors", name_of(posterior)).latent_space in DISCRETE_SPACES
    if name_of(parts["likelihood"]) == "columns":
        return parts | _rules_for_rows(schema, num_examples, parts | given, discrete=discrete)
    return parts | _rules_for_arrays(schema, num_examples, parts | given, discrete=discrete)


def _rules_for_rows(schema: Schema, num_examples: int, given: dict[str, Any], *, discrete: bool) -> dict[str, Any]:
    """Rows of tables; measured on adult (synthetic rows), and on small tables with anomalies in them."""
    batch_size = given.get("batch_size", 256 if num_examples >= 10_000 else 128 if num_examples >= 2000 else 32)
    # A short run of a small network learns what is common; a longer or wider one also what is odd, which then no longer
    # scores so.
    long = next(steps for rows, steps in reversed(LONG_RUN_OF_ROWS.items()) if num_examples >= rows)
    steps = SHORT_RUN_OF_ROWS if given.get("trim") else long
    epochs = given.get("epochs", min(1000, max(5, -(-steps * batch_size // max(1, num_examples)))))
    # A flow follows the aggregate posterior, so that samples keep what the columns have to do with each other; where
    # odd rows are to be told, the plain prior leaves them odd.
    changes = has_option("objective", given["objective"], "warmup_steps") and not given.get("trim")
    flow = num_examples >= 2000 and name_of(given["posterior"]) == "diagonal-normal" and not given.get("trim")
    size = schema.summary().size
    return {
        **({"prior": "coupling-flow"} if flow else {}),
        "latent_dim": min(16, max(2, size if flow else -(-size // 2))) * _latent_factor(given["posterior"]),
        "width": SMALLEST_WIDTH if given.get("trim") else 256 if num_examples >= 2000 else 128,
        "depth": 2,
        "batch_size": batch_size,
        "epochs": epochs,
        # Without a warm-up the columns' dependence is given up before the latent variables can carry it.
        "warmup_epochs": epochs // 3 if changes else 0,
        "weight_decay": 0.0 if given.get("trim") else min(1.0, WEIGHTS_COUNT_AS / max(1, num_examples)),
        "hide": 0.0 if given.get("trim") or _has_companion(given["objective"]) else _hidden_cells(schema),
        "learning_rate": 2e-3 if num_examples >= 10_000 and not discrete else 1e-3,
        "patience": max(5, epochs // 5),
    }


def _has_companion(objective: Choice) -> bool:
    return issubclass(registry.load("objectives", name_of(objective)), AbstractCompanionObjective)


def _hidden_cells(schema: Schema) -> float:
    """None where the table itself teaches the encoder to do without cells: more of it would blur the rows."""
    missing = [column.missing for column in schema.columns or ()]
    return HIDDEN_CELLS if sum(missing) < FEW_MISSING * len(missing) else 0.0


def _rules_for_arrays(schema: Schema, num_examples: int, given: dict[str, Any], *, discrete: bool) -> dict[str, Any]:
    batch_size = given.get("batch_size", 100 if num_examples >= 10_000 else 64 if num_examples >= 500 else 32)
    large_perceptron = name_of(given["network"]) == "mlp" and num_examples >= 10_000
    epochs = given.get("epochs", min(2000, max(20, -(-LONG_RUN * batch_size // max(1, num_examples)))))
    return {
        "latent_dim": _latent_dim(schema, schema.summary().size) * _latent_factor(given["posterior"]),
        **_shape_of_network(schema, name_of(given["network"]), num_examples),
        "batch_size": batch_size,
        "epochs": epochs,
        "learning_rate": 3e-3 if large_perceptron and not discrete else 1e-3,
        "weight_decay": 0.05 if large_perceptron else 0.0,
        "patience": max(5, epochs // 5),
    }


def _likelihood(schema: Schema) -> str:
    summary = schema.summary()
    low, high = float(summary.low.min()), float(summary.high.max())
    if schema.kind == "table":
        return "columns"
    if schema.value_kind == "binary":
        return "bernoulli"
    if schema.kind == "images":
        if schema.value_kind == "integer":
            return "discretized-logistic"
        return "continuous-bernoulli" if (low, high) == (0, 1) else "normal"
    if schema.value_kind == "integer":
        return "negative-binomial" if low >= 0 else "discretized-logistic"
    return "normal"


def _network(schema: Schema, size: int) -> str:
    return "convolutional" if schema.kind == "images" and size > 1024 else "mlp"


def _latent_dim(schema: Schema, size: int) -> int:
    if schema.kind == "images":
        return 8 if size <= 100 else 20 if size <= 1024 else 32 if size <= 4096 else 64
    return min(16, max(2, -(-size // 2)))


def _latent_factor(posterior: Choice) -> int:
    """A bit holds less than a real number, so binary codes are longer."""
    return {"binary": 3, "one-hot": 2}.get(registry.load("posteriors", name_of(posterior)).latent_space, 1)


def _shape_of_network(schema: Schema, network: str, num_examples: int) -> dict[str, int]:
    if network == "convolutional":
        halvings, side = 0, min(schema.event_shape[:2])
        while side > 7 and halvings < 5:
            halvings, side = halvings + 1, -(-side // 2)
        return {"width": 32, "depth": max(1, halvings)}
    if schema.kind == "images":
        return {"width": 512 if num_examples >= 5000 else 256, "depth": 2}
    return {"width": 256 if num_examples >= 20_000 else 128 if num_examples >= 1000 else SMALLEST_WIDTH, "depth": 2}
