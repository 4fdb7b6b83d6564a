"""Random programs: what is shown to be continuous has the right pathwise derivative, and smooth ones are shown to be.

The test of the test: with the rule for a class of jumps taken out, it fails.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reparax.continuity import Variable, judge
from reparax.continuity import analysis as analysis_room
from reparax.continuity import check as check_room
from reparax.continuity import crossing as crossing_room
from reparax.continuity.elementwise import COMPARISONS, ROUNDINGS

from .programs import BENT, JUMPING, SMOOTH, error_of_the_path, program

ALL = SMOOTH | BENT | {name: make for operations in JUMPING.values() for name, make in operations.items()}


def is_shown(f):
    return judge(jax.make_jaxpr(f)(jnp.ones(3)), [Variable()]).variables == (None,)


def check(seeds, operations):
    """The number of programs shown to be continuous; fails where the derivative of one is wrong."""
    shown = 0
    for seed in seeds:
        f, names = program(np.random.default_rng(seed), operations, size=3)
        if is_shown(f):
            shown += 1
            assert not error_of_the_path(f) > 6, names
    return shown


def test_what_is_shown_to_be_continuous_has_the_right_derivative():
    assert check(range(50), ALL) >= 10


@pytest.mark.full
def test_what_is_shown_to_be_continuous_has_the_right_derivative_full():
    assert check(range(1000, 2000), ALL) >= 200


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(100, 1100), marks=pytest.mark.full)])
def test_compositions_of_continuous_operations_are_shown_to_be(seeds):
    refused = []
    for seed in seeds:
        f, names = program(np.random.default_rng(seed), SMOOTH | BENT)
        if not is_shown(f):
            refused.append(names)
    assert not refused


def plain(analysis, number, node, parts):
    """The facts of an operation that is taken to be continuous."""
    parts = [analysis.settled(arg) for arg in node.args]
    return analysis_room.elementwise(parts, analysis_room.iv.REAL)


def without_poles(jump):
    return lambda self, *arguments, pole=False: frozenset() if pole else jump(self, *arguments)


def agree_somewhere(trial, roots):
    first, second = (np.broadcast_to(value, trial.valid.shape) for value, _ in roots[:2])
    return bool(np.any(np.abs(first - second) < 1e-3))


# What is taken out of the analysis, per class of jumps: names of operations without their rules.
RULES_OF = {
    "comparison": [*COMPARISONS],
    "equality": ["eq", "ne"],
    "order": ["out"],
    "index": ["argmax", "argmin"],
    "rounding": [*ROUNDINGS, "rem", "sign"],
    "cut": ["atan2"],
    "rounds": ["while", "out"],
}


@pytest.mark.parametrize("kind", JUMPING)
def test_every_class_is_found_once_its_rule_is_taken_out(kind, monkeypatch):
    """Programs with one operation of the class, until one that is wrongly taken to be continuous is caught."""
    for op in RULES_OF.get(kind, []):
        monkeypatch.setitem(analysis_room.RULES, op, plain)
    if kind in {"nan", "pole"}:
        monkeypatch.setattr(analysis_room.Analysis, "jump", without_poles(analysis_room.Analysis.jump))
        for op in [*COMPARISONS, "is_finite"] if kind == "nan" else []:
            monkeypatch.setitem(analysis_room.RULES, op, plain)
    if kind == "hidden":
        # As if it were enough that the outcomes agree somewhere.
        monkeypatch.setattr(crossing_room, "_equal", agree_somewhere)
    check_room._judged.cache_clear()
    try:
        for seed in range(40):
            noise = np.random.default_rng(seed)
            f, _ = program(noise, JUMPING[kind], size=1)
            if is_shown(f) and error_of_the_path(f) > 6:
                return
        pytest.fail("no program was caught")
    finally:
        check_room._judged.cache_clear()
