"""The options of ``reparax fit``: the fields of a recipe, the parts by name, and the options of the parts."""

import json
from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from reparax import registry
from reparax.errors import RecipeError

if TYPE_CHECKING:
    Posterior = Prior = Likelihood = Objective = Network = Estimator = str
else:
    # A name of the list, or "module:Class".
    Posterior, Prior, Likelihood, Objective, Network = (
        Literal[registry.names(room)] | str for room in registry.ROOM_OF.values()
    )
    Estimator = Literal[("auto", *registry.names("estimators"))]

SHORT = frozenset(
    {"objective.beta", "objective.free_bits", "objective.num_samples", "objective.estimator", "prior.num_components"}
)
"""Options that have a short name as well."""
HIDDEN = frozenset({"objective.warmup_steps"})
"""Options that follow from others."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class _Fields:
    """What is decided about a model and its training; what is left out is suggested from the data.

    Attributes:
        latent_dim: The number of latent dimensions.
        epochs: How many times the data are seen, at most.
        batch_size: Examples per training step.
        learning_rate: Adam's highest rate.
        weight_decay: The share of each weight matrix that a step takes off, times the rate.
        seed: The seed of everything random (default: 0).
        valid: The fraction of the data held out (default: a tenth, at most 1000 examples; 0: nothing).
        hide: The share of a table row's cells, at most, that the encoder learns to do without.
        trim: The share of a table's rows, the oddest, that training leaves out: for scores of anomalies among the data.
        patience: Epochs without a better held-out bound after which training stops.
        network: The architecture of encoder and decoder.
        width: Units of a hidden layer, or channels of the first convolution.
        depth: The number of hidden layers or convolutions.
        posterior: The distribution of the latent variable given an example.
        prior: The distribution of the latent variable.
        likelihood: The distribution of an example given the latent variable.
        objective: What training maximizes.
        warmup_epochs: Epochs over which the weight of the KL rises from 0.
        binarize: Draw each pixel anew from its intensity whenever it is seen, or cut at the middle.
    """

    latent_dim: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    seed: int | None = None
    valid: float | None = None
    hide: float | None = None
    trim: float | None = None
    patience: int | None = None
    network: Network | None = None
    width: int | None = None
    depth: int | None = None
    posterior: Posterior | None = None
    prior: Prior | None = None
    likelihood: Likelihood | None = None
    objective: Objective | None = None
    warmup_epochs: int | None = None
    binarize: Literal["dynamic", "threshold"] | None = None

    def chosen(self) -> dict[str, Any]:
        """What was given: fields of a recipe, and options of parts as ``"prior.num_components"``."""
        given = {one.metadata.get("option", one.name): getattr(self, one.name) for one in fields(self)}
        return {name: _read(name, value) for name, value in given.items() if value is not None}


def _read(name: str, value: Any) -> Any:
    """A part with its options, where it comes as JSON; other values as they are."""
    if name not in registry.ROOM_OF or not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise RecipeError(
            expected=f'--{name} as a name, or as JSON: {{"name": ..., "an_option": ...}}',
            got=f"{value} ({error})",
            cure="put the whole in single quotes, and names in double ones",
        ) from None


def _part_options() -> list[tuple[str, Any, Any]]:
    """One field for each option of a part; what parts of a room have in common is one."""
    collected: dict[str, list[tuple[str, registry.Option]]] = {}
    for part, room in registry.ROOM_OF.items():
        for name in registry.names(room):
            for option in registry.options(room, name):
                collected.setdefault(f"{part}.{option.name}", []).append((name, option))
    return [_field(name, having) for name, having in collected.items() if name not in HIDDEN]


def _field(name: str, having: list[tuple[str, registry.Option]]) -> tuple[str, Any, Any]:
    flag = name.replace("_", "-")
    flags = [f"--{flag}", *([f"--{flag.partition('.')[2]}"] if name in SHORT else [])]
    texts: dict[str, list[str]] = {}
    for part, option in having:
        texts.setdefault(f"{option.text.rstrip('.')} (default: {option.default})", []).append(part)
    text = "; ".join(f"{' and '.join(parts)}: {said}" for said, parts in texts.items())
    kind: Any = type(having[0][1].default)
    if name.endswith(".estimator"):
        kind = Estimator
    parameter = Parameter(name=flags, help=f"{text}.")
    return name.replace(".", "__"), Annotated[kind | None, parameter], field(default=None, metadata={"option": name})


RecipeOptions: Any = Parameter(name="*")(
    make_dataclass(
        "RecipeOptions",
        _part_options(),
        bases=(_Fields,),
        namespace={"__module__": __name__, "__doc__": _Fields.__doc__},
        frozen=True,
        kw_only=True,
    )
)
"""What is decided about a model and its training, with the options of all parts."""
