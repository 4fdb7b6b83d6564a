"""Estimators by the mechanism they share: what is wrong for one is wrong for its relatives, which are one witness."""

from typing import Literal

from reparax import registry
from reparax.estimators._base import AbstractEstimator

Trust = Literal[0, 1, 2, 3]
EXACT: Trust = 0
CUSTOM = "custom"


def family(part: AbstractEstimator) -> str:
    """The mechanism of an estimator.

    "enumeration"; "pathwise" with all that differentiate the sample; "relaxation" for control variates that do;
    "score function" for the rest. A file of the library may declare another (``family``). Estimators from elsewhere are
    "custom", also where they inherit from one of the library: what they changed is not known.
    """
    if not is_own(part):
        return CUSTOM
    declared = getattr(type(part), "family", None)
    if declared is not None:
        return declared
    if part.level == "enumerate":
        return "enumeration"
    if part.level == "pathwise":
        return "pathwise"
    return "relaxation" if part.differentiates_the_sample else "score function"


def trust(part: AbstractEstimator) -> Trust:
    """What an estimator assumes: 0 nothing (exact), 1 a density, 2 a continuous f, 3 what the library does not know."""
    if not is_own(part):
        return 3
    if part.level == "enumerate":
        return EXACT
    return 2 if part.differentiates_the_sample else 1


def is_own(part: AbstractEstimator) -> bool:
    """Whether the class is one of the library's, not one that inherits from it."""
    name = registry.part_name(type(part))
    return type(part).__module__.startswith("reparax.estimators.") and name in registry.names("estimators")
