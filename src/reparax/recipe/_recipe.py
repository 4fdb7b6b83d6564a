"""The recipe: its chosen parts, its fields and their ranges, and how a type checker reads them."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import msgspec
from typing_extensions import TypedDict  # its dictionaries can be closed: a key of another name is an error

from reparax import registry
from reparax.errors import RecipeError
from reparax.parts import Part, as_number, option_names, options_of

Choice = str | dict[str, Any]
"""``"categorical"``, or ``{"name": "categorical", "num_classes": 5}``; your own part is ``"module:Class"``."""


def name_of(choice: Choice) -> str:
    """The name of a chosen part."""
    return choice if isinstance(choice, str) else choice["name"]


def options_in(choice: Choice) -> dict[str, Any]:
    """The options of a chosen part that are not left at their defaults."""
    return {} if isinstance(choice, str) else {name: value for name, value in choice.items() if name != "name"}


def choice(field: str, value: Any) -> Choice:
    """A choice as a recipe stores it, from a name, a mapping, or a part; the options of built-in parts are checked.

    A custom part is not imported here.

    Args:
        field: The field of the recipe: ``"posterior"``, ...
        value: What the user gave.

    Raises:
        RecipeError: No such part or option, or an option out of its range.
    """
    if isinstance(value, type) and issubclass(value, Part):
        value = registry.part_name(value)
    if isinstance(value, Part):
        return _joined(registry.part_name(type(value)), options_of(value))
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        name, options = value["name"], {key: option for key, option in value.items() if key != "name"}
    elif isinstance(value, str):
        name, options = value, {}
    else:
        raise RecipeError(
            expected=f'the {field} by its name, or as {{"name": ..., "an_option": ...}}',
            got=repr(value),
            cure=f"choose one of {', '.join(registry.names(registry.ROOM_OF[field]))}",
        )
    if registry.module_of(name) is not None:
        return _joined(name, options)
    return _joined(name, options_of(_made(field, name, options)))


def part_of(field: str, value: Choice) -> Any:
    """The part of a choice; the module of a custom part is imported.

    Raises:
        RecipeError: No such part or option, or an option out of its range.
    """
    return _made(field, name_of(value), options_in(value))


def with_options(field: str, value: Choice, options: Mapping[str, Any]) -> Choice:
    """A choice with more options.

    Raises:
        RecipeError: The part has no such option, or it is out of its range.
    """
    return choice(field, {"name": name_of(value), **options_in(value), **options})


def has_option(field: str, value: Choice, name: str) -> bool:
    """Whether a chosen part has an option of a name."""
    return name in option_names(registry.load(registry.ROOM_OF[field], name_of(value)))


def _made(field: str, name: str, options: Mapping[str, Any]) -> Any:
    kind = registry.load(registry.ROOM_OF[field], name)
    unknown = sorted(set(options) - set(option_names(kind)))
    if unknown:
        known = ", ".join(option_names(kind))
        raise RecipeError(
            expected=f"options of the {name} {field}: {known}" if known else f"no options for the {name} {field}",
            got=", ".join(unknown),
            cure="leave them out, or choose another part",
        )
    return kind(**options)


def _joined(name: str, options: Mapping[str, Any]) -> Choice:
    return {"name": name, **options} if options else name


Binarize = Literal["none", "dynamic", "threshold"]

Relations = Literal["none", "stated", "found"]
Precision = Literal["float32", "tensorfloat32", "bfloat16"]

LARGEST = 1_000_000_000
DELTA = 1e-6


class Range(NamedTuple):
    """The type and the bounds of a setting."""

    kind: type[int] | type[float]
    low: float
    high: float


RANGES = (
    dict.fromkeys(("latent_dim", "width", "epochs", "batch_size", "patience"), Range(int, 1, LARGEST))
    | dict.fromkeys(("depth", "warmup_epochs", "context_dim", "rows", "seed"), Range(int, 0, LARGEST))
    | {"ensemble": Range(int, 1, 1000)}
    | {"learning_rate": Range(float, 1e-8, 10), "weight_decay": Range(float, 0, 10), "valid": Range(float, 0, 0.9)}
    | {"hide": Range(float, 0, 0.95), "trim": Range(float, 0, 0.5)}
    | {"dp": Range(float, 0, 50), "dp_delta": Range(float, 1e-20, 0.1), "clip_norm": Range(float, 1e-6, 1e6)}
)


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is chosen about a model and its training; `suggest` chooses what the user leaves open.

    A part is chosen by name, or with options: ``{"name": "normal-mixture", "num_components": 6}``.

    Attributes:
        posterior: The distribution of the latent variable given an example.
        prior: The distribution of the latent variable.
        likelihood: The distribution of an example given the latent variable.
        objective: What training maximizes.
        network: The architecture of encoder and decoder.
        latent_dim: The number of latent dimensions.
        width: Units of a hidden layer, or channels of the first convolution.
        depth: The number of hidden layers or convolutions.
        warmup_epochs: Epochs over which the weight of the KL rises from 0.
        binarize: Whether intensities become bits: not, drawn anew in each step, or split at the middle of their range.
        epochs: The largest number of passes over the data.
        batch_size: Examples per training step.
        learning_rate: The highest learning rate of Adam.
        weight_decay: The weight decay of Adam: each step shrinks weight matrices by this times the learning rate.
        patience: Epochs without a better held-out bound after which training stops.
        valid: The fraction of the data held out (default: a tenth, at most 1000 examples, or none if rows are trimmed).
        context_dim: The number of values in the context of an example; 0 without a context.
        hide: The largest fraction of a table row's cells to hide from the encoder, so that it learns to do without
            them: every fourth step also trains on rows with hidden cells. Of examples with several views, the
            probability to leave out each view but one in such steps.
        trim: The fraction of a table's rows to leave out of training, those with the most anomalous single columns:
            use it to find anomalies in the training data. The rows left out are not modeled, so samples lack them.
        relations: Which relations between the columns of a table are kept: none, those that are stated with the schema,
            or also those found in the data (default, unless rows are trimmed).
        rows: Train on at most this many examples, drawn at random; 0 for all.
        ensemble: The number of models to train at once, which differ in their random numbers only; their mixture is the
            fitted model (default: 1).
        dp: The epsilon of a differentially private fit of a table: the smaller, the less single rows matter; 0 for a
            fit without such a guarantee (default).
        dp_delta: The probability with which single rows may matter more than that (default: 0.000001).
        clip_norm: The norm to which a private fit clips the gradient of each row (default: 1).
        precision: How training computes products: in float32 (default), or with less, which is faster on GPUs: in
            tensorfloat32, or the hidden layers of encoder and decoder in bfloat16 and the rest in tensorfloat32.
            Weights, held-out bounds and all that is reported stay in float32.
        seed: The random seed (default: 0). A private fit draws its noise from the system, and differs each time.

    Raises:
        RecipeError: A setting is out of its range.
    """

    posterior: Choice
    prior: Choice
    likelihood: Choice
    objective: Choice
    network: Choice
    latent_dim: int
    width: int
    depth: int
    warmup_epochs: int = 0
    binarize: Binarize = "none"
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    patience: int
    valid: float = 0.1
    context_dim: int = 0
    hide: float = 0.0
    trim: float = 0.0
    relations: Relations = "none"
    rows: int = 0
    ensemble: int = 1
    dp: float = 0.0
    dp_delta: float = DELTA
    clip_norm: float = 1.0
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in RANGES:
            msgspec.structs.force_setattr(self, name, checked(name, getattr(self, name)))
        for name in registry.ROOM_OF:
            msgspec.structs.force_setattr(self, name, choice(name, getattr(self, name)))
        estimator = self.option("objective", "estimator", "auto")
        if estimator != "auto" and estimator not in registry.names("estimators"):
            registry.load("estimators", estimator)
        for name, kind in (("binarize", Binarize), ("relations", Relations), ("precision", Precision)):
            known = get_args(kind)
            if getattr(self, name) not in known:
                raise RecipeError(
                    expected=f"{name} to be {', '.join(known[:-1])} or {known[-1]}",
                    got=repr(getattr(self, name)),
                    cure="choose one of them",
                )

    def name(self, field: str) -> str:
        """The name of a chosen part: ``recipe.name("prior")``."""
        return name_of(getattr(self, field))

    def options(self, field: str) -> dict[str, Any]:
        """The options of a chosen part that are not left at their defaults."""
        return options_in(getattr(self, field))

    def option(self, field: str, name: str, default: Any = None) -> Any:
        """An option of a chosen part, or a default if it is not chosen."""
        return self.options(field).get(name, default)

    def own_modules(self) -> list[str]:
        """The modules of the model's custom parts, sorted."""
        modules = {registry.module_of(self.name(field)) for field in registry.ROOM_OF if field != "objective"}
        return sorted(module for module in modules if module is not None)


def checked(name: str, value: Any) -> Any:
    """A numeric setting as a Python int or float; a field of another type unchanged.

    Raises:
        RecipeError: The number is out of its range, or the value is not a number.
    """
    if name not in RANGES:
        return value
    kind, low, high = RANGES[name]
    number = as_number(value, kind)
    if number is None or not low <= number <= high:
        words = "a whole number " if kind is int else ""
        raise RecipeError(
            expected=f"{name} {words}between {low:g} and {high:g}",
            got=repr(value) if number is None else f"{number:g}",
            cure=f"choose another --{flag(name)}",
        )
    return number


def flag(name: str) -> str:
    """A field's name as an option of the command line."""
    return name.replace("_", "-")


ChosenPart = str | Mapping[str, Any] | Part | type[Part]
"""A part: its name, its name and options (``{"name": "normal-mixture", "num_components": 6}``), or the part itself."""


class TableSettings(TypedDict, total=False):
    """The settings that fits of tables have in common, whoever asks for them; None leaves a choice open."""

    posterior: ChosenPart | None
    prior: ChosenPart | None
    likelihood: ChosenPart | None
    network: ChosenPart | None
    latent_dim: int | None
    width: int | None
    depth: int | None
    warmup_epochs: int | None
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    weight_decay: float | None
    patience: int | None
    valid: float | None
    hide: float | None
    trim: float | None
    relations: Relations | None
    rows: int | None
    ensemble: int | None
    precision: Precision | None

    beta: float | None
    free_bits: float | None
    free_bits_of: str | None
    num_samples: int | None
    num_components: int | None
    num_classes: int | None
    num_codes: int | None
    code_dim: int | None
    num_stages: int | None
    commitment: float | None
    temperature: float | None
    levels: str | None
    num_couplings: int | None
    num_maps: int | None
    num_steps: int | None
    num_bins: int | None
    hidden_units: int | None
    num_layers: int | None
    ratio: float | None
    rank: int | None
    weight: float | None
    kl_weight: float | None
    variance_weight: float | None
    num_rows: int | None
    library_size: str | None
    scale: str | None
    num_labeled: int | None
    repeats: int | None
    num_bounds: int | None
    capacity: float | None
    capacity_steps: int | None


class _Settings(TableSettings, total=False):
    """Fields of a recipe except its objective, and options of parts that are given without the name of the part.

    None leaves a choice open, to the rules of `reparax.recipe.suggest`.
    """

    binarize: Binarize | None
    context_dim: int | None
    dp: float | None
    dp_delta: float | None
    clip_norm: float | None
    seed: int | None
    estimator: str | None
    views: str | None


class Settings(_Settings, total=False, closed=True):
    """What `reparax.fit` takes by name besides its own parameters, of which the objective is one."""


class Chosen(_Settings, total=False, closed=True):
    """Every field of a recipe, and options of parts that are given without the name of the part."""

    objective: ChosenPart | None
