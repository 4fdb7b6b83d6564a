"""The rules that choose a recipe from the data."""

import math
from typing import Any

import msgspec

from reparax import registry
from reparax.data import Schema
from reparax.errors import RecipeError
from reparax.objectives import AbstractCompanionObjective
from reparax.parts import Part
from reparax.recipe._recipe import Choice, Recipe, checked, choice, has_option, name_of, options_in, with_options
from reparax.tables import chosen_views, is_for_rows

LONG_RUN = 8000
"""Training steps of a default model."""

PIXELS_SEEN = 400_000_000
"""The most pixels that it sees with convolutions: about ten minutes on two cores, for colors in 8-bit levels."""
SHORTEST_RUN = 2000
"""The fewest training steps that this leaves, however large the images are."""
LARGE_IMAGE = 1024
"""The number of pixels from which batches for convolutions have 32 images: more steps in the same time."""

LARGE_TABLE = 100_000
"""The number of rows from which batches have 256 rows: then an epoch is what costs."""

LONG_RUN_OF_ROWS = {0: 4000, 2000: 8000, 10_000: 10_000, LARGE_TABLE: 5000}
"""The same for tables, by the smallest number of rows; the largest tables have larger batches and fewer steps."""
SHORT_RUN = 500
"""The same for finding anomalies (``trim``): a longer run also learns groups of anomalies."""
SHORT_RUN_PER_COLUMN = 25
"""The same for each column, if that makes more: a short run of many columns does not learn how these go together."""
SHORT_RUN_BATCH = 64
"""Rows in a batch of such a run, which so sees equally many rows of small and of large tables."""
MOST_STEPS_OVER = 1.05
"""How many times the steps it may take to see all rows in its last epoch."""

SMALLEST_WIDTH = 64
"""Units of a hidden layer for few rows, and for finding anomalies."""

HIDDEN_CELLS = 0.6
"""The default of ``hide`` for tables with hardly any missing cells."""
FEW_MISSING = 0.05
"""The fraction of missing cells from which the encoder learns from these to do without cells."""
HIDDEN_VIEWS = 0.5
"""The default of ``hide`` for views, of posteriors that are not trained to do without views."""
WEIGHT_DECAY_ROWS = 100
"""The weight decay is this over the number of rows, and at most 1."""

OF_DATA = frozenset({"exclude", "label", "schema"})
"""What is said of data when they are read, not when a model is fitted."""

SEARCHED = ("objective", "prior", "likelihood", "network", "posterior")
"""The parts in which an option is looked for, in order, if it is given without the name of its part."""

FACTORS = {"binary": 3, "one-hot": 2}
"""How many variables of a latent space hold about as much information as a number."""
NUMBERS_OF_A_CODE = 3
"""How many numbers hold about as much as a code of some hundred values."""
DISCRETE_SPACES = frozenset({"binary", "one-hot", "count", "codes"})


def suggest(schema: Schema, num_examples: int, **chosen: Any) -> Recipe:
    """A recipe for data of a schema: the given choices, and the rest by rules.

    The likelihood depends on the kind of values: columns for tables, Bernoulli for 0/1, discretized logistic for whole
    pixel levels, continuous Bernoulli for intensities in an interval, negative binomial for counts, in tables
    of many columns of them too, Normal for real
    numbers. Networks are perceptrons, or convolutions for images of more than 1024 values. Batches have 100 examples
    (64 or 32 for small data), and epochs make about 8000 steps but are at least 20; training may stop earlier. The
    learning rate is 0.001, or 0.003 for perceptrons on 10,000 examples or more.

    With convolutions, batches of images of 1024 pixels and more have 32 of them, and a fit sees at most 400 million
    pixels, but at least all images once, and takes at least 2000 steps. Whole levels of three channels have a
    mixture of discretized logistics.

    Tables are trained for 4000 to 10,000 steps in batches of 32 to 256, with a warm-up of the KL, and with more weight
    decay for fewer rows; from 2000 rows on, the prior is a coupling flow. If hardly any cells are missing, some are
    hidden from the encoder. If rows are trimmed, a small network with the plain prior is trained for about 500 steps
    (25 per column, if that is more) in batches of 64, if there are many rows on as many as that takes, drawn at random.

    Several views have the likelihood that suits each of them, a product of experts as the posterior, perceptrons, and
    steps in which some views are left out.

    Args:
        schema: What the data are.
        num_examples: The number of examples to train on.
        **chosen: Fields of `Recipe`, and options of its parts; None leaves a choice open.

    Raises:
        RecipeError: A field or an option is unknown, or a setting is out of its range.
    """
    fields = {field.name for field in msgspec.structs.fields(Recipe)}
    given = {name: value for name, value in chosen.items() if value is not None}
    options = {name: given.pop(name) for name in list(given) if name not in fields}
    given = {
        name: choice(name, value) if name in registry.ROOM_OF else checked(name, value) for name, value in given.items()
    }
    rules = _rules(schema, num_examples, given)
    recipe: dict[str, Any] = rules | given | {"posterior": rules["posterior"]}
    if not _draws_are_chosen(chosen):
        recipe = _more_draws(recipe)
    for name, value in options.items():
        field, option = _place(name, recipe)
        recipe[field] = with_options(field, recipe[field], {option: value})
    if schema.views:
        recipe["likelihood"] = _of_all_views(recipe["likelihood"], schema)
    return Recipe(**recipe)


def _of_all_views(likelihood: Choice, schema: Schema) -> Choice:
    """The likelihoods of views: those that are chosen, and of the other views the ones that suit their data.

    Raises:
        RecipeError: One is chosen for all views, or for a view that there is not.
    """
    if not has_option("likelihood", likelihood, "views"):
        raise RecipeError(
            expected="the by-view likelihood, with one for each of the views", got=name_of(likelihood),
            cure=f"choose those of views: --likelihood.views {schema.views[0][0]}={name_of(likelihood)}",
        )  # fmt: skip
    own = {name: _likelihood(view, OF_VIEWS) for name, view in schema.views}
    chosen = chosen_views(options_in(likelihood).get("views", ""))
    if unknown := [name for name in chosen if name not in own]:
        raise RecipeError(
            expected=f"likelihoods of the views {', '.join(own)}", got=f"one of {', '.join(unknown)}",
            cure="name a view of the data",
        )  # fmt: skip
    text = ",".join(f"{name}={part}" for name, part in (own | chosen).items())
    return with_options("likelihood", likelihood, {"views": text})


def _place(name: str, recipe: dict[str, Any]) -> tuple[str, str]:
    """The part that an option belongs to: ``prior.num_components``, or ``num_components`` of the first that has it.

    Raises:
        RecipeError: No part has such an option.
    """
    field, dot, option = name.partition(".")
    if dot and field in registry.ROOM_OF:
        return field, option
    having = [field for field in SEARCHED if has_option(field, recipe[field], name)]
    if not having:
        chosen = ", ".join(name_of(recipe[field]) for field in SEARCHED)
        raise RecipeError(
            expected="fields of a recipe, or options of its parts",
            got=f"{name}, which is an option of none of {chosen}",
            cure=f"give it to the data: rx.fit(rx.read(data, {name}=...))"
            if name in OF_DATA
            else "see reparax.recipe.Recipe for the fields, and docs/parts.md for the options",
        )
    return having[0], name


def _draws_are_chosen(chosen: dict[str, Any]) -> bool:
    objective = chosen.get("objective")
    given = isinstance(objective, Part) or (isinstance(objective, dict) and "num_samples" in objective)
    return given or any(chosen.get(name) is not None for name in ("num_samples", "objective.num_samples"))


def _more_draws(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe with four draws for each example if latent variables are discrete, as their gradients are noisier."""
    posterior = registry.load("posteriors", name_of(recipe["posterior"]))
    objective = recipe["objective"]
    if posterior.latent_space not in DISCRETE_SPACES or posterior.is_rounded or name_of(objective) == "iwae":
        return recipe
    if not has_option("objective", objective, "num_samples"):
        return recipe
    return recipe | {"objective": with_options("objective", objective, {"num_samples": 4})}


COLORS = 3
"""The channels of images of colors."""
OF_VIEWS = "mlp"
"""The network of each of several views."""
CONVOLUTIONAL = frozenset({"convolutional", "residual"})
PRIVATE_RATE = 0.03
PRIVATE_STEPS = 2000
PRIVATE_WIDTH = 64
PRIVATE_LEARNING_RATE = 3e-3


def held_out_share(num_examples: int) -> float:
    """The fraction of the data to hold out: a tenth, but at most a thousand examples."""
    return min(0.1, 1000 / max(1, num_examples))


def _rules(schema: Schema, num_examples: int, given: dict[str, Any]) -> dict[str, Any]:
    objective = given.get("objective", "elbo")
    usual = "product-of-experts" if schema.views else "diagonal-normal"
    plain = "deterministic" if name_of(objective) == "reconstruction" else usual
    posterior = given.get("posterior", "class-normal" if schema.classes else plain)
    counts = has_option("posterior", posterior, "num_classes") and "num_classes" not in options_in(posterior)
    if schema.classes and counts:
        posterior = with_options("posterior", posterior, {"num_classes": len(schema.classes)})
    network = given.get("network", _network(schema, schema.summary().size))
    binarizes = given.get("binarize", "none") != "none"
    likelihood = "bernoulli" if binarizes else _likelihood(schema, name_of(network))
    parts = {
        "objective": objective,
        "posterior": posterior,
        "prior": registry.load("posteriors", name_of(posterior)).default_prior,
        "likelihood": given.get("likelihood", likelihood),
        "network": network,
    }
    # Gradients through discrete latent variables are noisier and need a lower rate.
    discrete = registry.load("posteriors", name_of(posterior)).latent_space in DISCRETE_SPACES
    if is_for_rows(registry.load("likelihoods", name_of(parts["likelihood"]))):
        return parts | _rules_for_rows(schema, num_examples, parts | given, discrete=discrete)
    return parts | _rules_for_arrays(schema, num_examples, parts | given, discrete=discrete)


def _rules_for_rows(schema: Schema, num_examples: int, given: dict[str, Any], *, discrete: bool) -> dict[str, Any]:
    """The rules for tables, tuned on adult (synthetic rows) and on small tables with anomalies."""
    size, trims = schema.summary().size, bool(given.get("trim"))
    usual = 256 if num_examples >= LARGE_TABLE else 128 if num_examples >= 2000 else 32
    batch_size = given.get("batch_size", SHORT_RUN_BATCH if trims else usual)
    # A short run of a small network learns what is common; a longer run of a wider one also learns the anomalies, which
    # then score lower.
    long = next(steps for rows, steps in reversed(LONG_RUN_OF_ROWS.items()) if num_examples >= rows)
    epochs, drawn = min(1000, max(5, -(-long * batch_size // max(1, num_examples)))), 0
    if trims:
        steps = max(SHORT_RUN, SHORT_RUN_PER_COLUMN * size)
        epochs, drawn = _short_run(steps, batch_size, round(num_examples * (1 - given["trim"])))
    if "epochs" in given:
        epochs, drawn = given["epochs"], 0
    # A flow follows the aggregate posterior, so that samples keep the associations between columns; for finding
    # anomalies, the plain prior keeps these improbable.
    changes = has_option("objective", given["objective"], "warmup_steps") and not trims
    flow = num_examples >= 2000 and name_of(given["posterior"]) == "diagonal-normal" and not trims
    rules = {
        **({"prior": "coupling-flow"} if flow else {}),
        "latent_dim": _times_factor(min(16, max(2, size if flow else -(-size // 2))), given["posterior"]),
        "width": SMALLEST_WIDTH if trims else 256 if num_examples >= 2000 else 128,
        "depth": 2,
        "batch_size": batch_size,
        "epochs": epochs,
        # Without a warm-up, the dependence between columns is lost before the latent variables can carry it.
        "warmup_epochs": epochs // 3 if changes else 0,
        "weight_decay": 0.0 if trims else min(1.0, WEIGHT_DECAY_ROWS / max(1, num_examples)),
        "hide": 0.0 if trims or _has_companion(given["objective"]) else _hidden_cells(schema),
        "learning_rate": 2e-3 if num_examples >= 10_000 and not discrete and not trims else 1e-3,
        "patience": max(5, epochs // 5),
        "relations": "stated" if trims else "found",
        "rows": drawn,
    }
    return rules | _rules_for_private(num_examples, given) if given.get("dp") else rules


def _rules_for_private(num_examples: int, given: dict[str, Any]) -> dict[str, Any]:
    """The rules for differentially private fits of tables: large batches, few steps, few weights to add noise to."""
    size = given.get("batch_size", max(1, round(PRIVATE_RATE * num_examples)))
    epochs = given.get("epochs", max(1, round(PRIVATE_STEPS * size / max(1, num_examples))))
    return {
        "prior": "standard-normal", "width": PRIVATE_WIDTH, "batch_size": size, "epochs": epochs,
        "warmup_epochs": epochs // 3, "weight_decay": 0.0, "hide": 0.0, "relations": "none",
        "learning_rate": PRIVATE_LEARNING_RATE,
    }  # fmt: skip


def _short_run(steps: int, batch_size: int, num_rows: int) -> tuple[int, int]:
    """Epochs that make a number of steps; and the rows to draw for them, 0 if epochs of all rows make hardly more."""
    per_epoch = max(1, num_rows // batch_size)
    epochs = -(-steps // per_epoch)
    return epochs, -(-steps // epochs) * batch_size if epochs * per_epoch > MOST_STEPS_OVER * steps else 0


def _has_companion(objective: Choice) -> bool:
    return issubclass(registry.load("objectives", name_of(objective)), AbstractCompanionObjective)


def _hidden_cells(schema: Schema) -> float:
    """The default of ``hide``: 0 if missing cells teach the encoder the same, as more of it would blur the rows."""
    missing = [column.missing for column in schema.columns or ()]
    return HIDDEN_CELLS if sum(missing) < FEW_MISSING * len(missing) else 0.0


def _rules_for_arrays(schema: Schema, num_examples: int, given: dict[str, Any], *, discrete: bool) -> dict[str, Any]:
    convolves, pixels = name_of(given["network"]) in CONVOLUTIONAL, math.prod(schema.event_shape[:2])
    is_large_perceptron = name_of(given["network"]) == "mlp" and num_examples >= 10_000
    usual = 100 if num_examples >= 10_000 else 64 if num_examples >= 500 else 32
    batch_size = given.get("batch_size", 32 if convolves and pixels >= LARGE_IMAGE else usual)
    seen, least_epochs = LONG_RUN * given.get("batch_size", usual), 20
    if convolves:
        seen, least_epochs = max(SHORTEST_RUN * batch_size, min(seen, PIXELS_SEEN // pixels)), 1
    epochs = given.get("epochs", min(2000, max(least_epochs, -(-seen // max(1, num_examples)))))
    posterior = registry.load("posteriors", name_of(given["posterior"]))
    hides = schema.views and not posterior.trains_each_view and not _has_companion(given["objective"])
    return {
        **({"hide": HIDDEN_VIEWS} if hides else {}),
        "latent_dim": _times_factor(_latent_dim(schema, schema.summary().size), given["posterior"]),
        **_shape_of_network(schema, name_of(given["network"]), num_examples),
        "batch_size": batch_size,
        "epochs": epochs,
        "learning_rate": 3e-3 if is_large_perceptron and not discrete else 1e-3,
        "weight_decay": 0.05 if is_large_perceptron else 0.0,
        "patience": max(5, epochs // 5),
    }


def _likelihood(schema: Schema, network: str) -> str:
    if schema.views:
        return "by-view"
    summary = schema.summary()
    low, high = float(summary.low.min()), float(summary.high.max())
    if schema.value_kind == "counts":
        return "negative-binomial"
    if schema.kind == "table":
        return "columns"
    if schema.value_kind == "binary":
        return "bernoulli"
    if schema.kind == "images":
        if schema.value_kind == "integer":
            # Its parameters are many for each pixel, which are outputs of all of the last layer of a perceptron.
            is_mixture = schema.event_shape[-1] == COLORS and network in CONVOLUTIONAL
            return "discretized-logistic-mixture" if is_mixture else "discretized-logistic"
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


def _times_factor(latent_dim: int, posterior: Choice) -> int:
    """Latent variables of bits are more than of numbers, and codes of a codebook fewer, by what each of them holds.

    The dimensions of layers are shared.
    """
    space = registry.load("posteriors", name_of(posterior)).latent_space
    if space == "codes":
        return max(1, latent_dim // NUMBERS_OF_A_CODE)
    return latent_dim * (2 if has_option("posterior", posterior, "num_layers") else FACTORS.get(space, 1))


def _shape_of_network(schema: Schema, network: str, num_examples: int) -> dict[str, int]:
    if network in CONVOLUTIONAL:
        halvings, side = 0, min(schema.event_shape[:2])
        while side > 7 and halvings < 5:
            halvings, side = halvings + 1, -(-side // 2)
        return {"width": 32, "depth": max(1, halvings)}
    if schema.kind == "images":
        return {"width": 512 if num_examples >= 5000 else 256, "depth": 2}
    return {"width": 256 if num_examples >= 20_000 else 128 if num_examples >= 1000 else SMALLEST_WIDTH, "depth": 2}
