"""The estimator of every draw of a program, chosen from what was seen of it, and how that is said."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from reparax.errors import InvalidEstimator
from reparax.estimators.text_table import table
from reparax.programs._facts import Path
from reparax.programs._marks import DISARM, ENUMERATION, PATHWISE, SCORE, Draw


@dataclass(frozen=True)
class Site:
    """How one draw of a program is differentiated.

    Args:
        name: The site's name: given, or the file and line of the call.
        distribution: The family drawn.
        repeated: Whether it is drawn in a loop.
        estimator: The estimator's name.
        why: Why this one.
        states: The number of joint states where it is enumerated, else 1.
        jumps: Whether pathwise was given up because the program was not shown to be continuous in the draw.
    """

    name: str
    distribution: str
    repeated: bool
    estimator: str
    why: str
    states: int = 1
    jumps: bool = False


@dataclass(frozen=True)
class Plan:
    """One `Site` per draw; printing it gives a table.

    Args:
        sites: The draws, in the order of the program.
        costs: Pairs of a cost's name, and its baseline in words.
    """

    sites: tuple[Site, ...]
    costs: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        rows = [(short(s.name), s.distribution, "yes" if s.repeated else "no", s.estimator, s.why) for s in self.sites]
        draws = table(("draw", "distribution", "in a loop", "estimator", "why"), rows)
        costs = table(("cost", "baseline"), [(short(name), baseline) for name, baseline in self.costs])
        return f"{draws}\n\n{costs}"

    def __repr__(self) -> str:
        return str(self)


def short(name: str) -> str:
    """A name without its folders."""
    return PurePath(name).name


def choose(
    draws: Iterable[tuple[Path, Draw]], jumps: dict[str, str], max_enumerated: int, *, taken: int = 1
) -> tuple[Site, ...]:
    """A site for every name among the draws of a program.

    Args:
        draws: The draws and their places.
        jumps: The sites in which the program is not shown to be continuous, with the reason.
        max_enumerated: The most joint states of all enumerated sites together.
        taken: The number of joint states already enumerated around the program.

    Raises:
        InvalidEstimator: A named estimator would be wrong, or none is right.
    """
    places: dict[str, list[tuple[Path, Draw]]] = {}
    for path, what in draws:
        places.setdefault(what.name, []).append((path, what))
    for name, uses in places.items():
        if len({(what.family, what.wish, what.states) for _, what in uses}) > 1:
            raise InvalidEstimator(
                expected=f"all draws named {name} to be of one kind",
                got=" and ".join(sorted({f"{what.family} ({what.wish})" for _, what in uses})),
                cure="give each its own name: rx.draw(..., name='...')",
            )
    # Named enumerations first, then the small ones: the order of the program does not decide what is within the bound.
    order = sorted(places, key=lambda name: (places[name][0][1].wish != ENUMERATION, places[name][0][1].states))
    sites = {}
    for name in order:
        sites[name] = _site(places[name], jumps.get(name), max_enumerated, taken)
        taken *= sites[name].states
    return tuple(sites[name] for name in places)


def _site(uses: list[tuple[Path, Draw]], jump: str | None, most: int, taken: int) -> Site:
    what = uses[0][1]
    reasons: dict[str, str] = {}
    for path, use in uses:
        reasons |= dict(use.refused)
        if "condition" in path:
            reasons |= dict.fromkeys((PATHWISE, SCORE, DISARM), "it is drawn in the condition of a while loop")
        if "while" in path or "branch" in path:
            reasons.setdefault(DISARM, "in a while loop or a branch, the copies of a pair need not both make the draw")
    if (reason := _not_enumerable(uses, most, taken)) is not None:
        reasons.setdefault(ENUMERATION, reason)
    if jump is not None:
        reasons.setdefault(PATHWISE, f"the program is not shown to be continuous in it ({jump})")
    estimator, why = _preferred(what, reasons, taken)
    repeated = any("scan" in path or "while" in path for path, _ in uses)
    states = int(what.states) if estimator == ENUMERATION else 1
    gave_up = jump is not None and estimator != PATHWISE and PATHWISE not in dict(what.refused) and what.wish == "auto"
    return Site(what.name, what.family, repeated, estimator, why, states, gave_up and estimator == SCORE)


def _not_enumerable(uses: list[tuple[Path, Draw]], most: int, taken: int) -> str | None:
    states = max(what.states for _, what in uses)
    if any("scan" in path or "while" in path for path, _ in uses):
        return "in a loop, all passes would be in the same state: enumerating them apart costs states ** passes"
    if len(uses) > 1:
        return "it is drawn at several places under one name, which would all be in the same state"
    if math.isinf(states):
        return "it has no finite number of states"
    if states * taken > most:
        return f"{states * taken:.0f} joint states are more than max_enumerated={most}"
    return None


def _preferred(what: Draw, reasons: dict[str, str], taken: int) -> tuple[str, str]:
    if what.wish != "auto":
        if what.wish not in reasons:
            return what.wish, "asked for by name"
        valid = [name for name in (PATHWISE, SCORE, ENUMERATION, DISARM) if name not in reasons]
        raise InvalidEstimator(
            expected=f"an estimator that is right for the draw at {what.name}",
            got=f"{what.wish}: {reasons[what.wish]}",
            cure=f"use one of: {', '.join(valid)}" if valid else "change the distribution or the program",
        )
    if ENUMERATION not in reasons:
        return ENUMERATION, f"exact, and {what.states * taken:.0f} joint states are within the bound"
    if PATHWISE not in reasons:
        return PATHWISE, "its samples are differentiable in every parameter"
    if SCORE not in reasons:
        return SCORE, f"not pathwise: {reasons[PATHWISE]}"
    raise InvalidEstimator(
        expected=f"an estimator that is right for the draw at {what.name}",
        got="; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
        cure="change the distribution or the program",
    )
