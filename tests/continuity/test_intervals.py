"""No value lies outside of the interval that the analysis gives it, of single operations and of entire programs.

A comparison is decided by these intervals: one that is too narrow makes a jump disappear.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr

from reparax.continuity import Variable
from reparax.continuity import interval as iv
from reparax.continuity.analysis import Analysis
from reparax.continuity.crossing import Budget
from reparax.continuity.elementwise import BINARY, UNARY, integer_power
from reparax.continuity.facts import Facts
from reparax.continuity.graph import Graph
from reparax.continuity.interval import Interval

from .cases import CONTINUOUS, JUMPS
from .more_cases import MORE_CONTINUOUS, MORE_JUMPS
from .programs import BENT, JUMPING, SMOOTH, program

ENDS = (-math.inf, -300.0, -2.5, -1.0, -0.3, 0.0, 0.4, 1.0, 1.7, 60.0, math.inf)
CASES = JUMPS | MORE_JUMPS | CONTINUOUS | MORE_CONTINUOUS
# A callback of numpy has no rule for a batch.
NAMES = [name for name in CASES if name != "a callback"]
ALL = SMOOTH | BENT | {name: make for operations in JUMPING.values() for name, make in operations.items()}


def random_interval(noise):
    low, high = sorted(noise.choice(len(ENDS), 2))
    opens = noise.random(2) < 0.5
    if low == high:
        opens[:] = False
    return Interval(ENDS[low], ENDS[high], bool(opens[0]), bool(opens[1]))


def points(noise, interval):
    """Values of an interval, its ends included where they are closed."""
    low, high = np.clip([interval.low, interval.high], -1e4, 1e4)
    inside = np.concatenate([noise.uniform(low, high, 30), np.clip(noise.normal(0, 3, 30), low, high)])
    ends = [
        end for end, is_open in ((interval.low, interval.low_open), (interval.high, interval.high_open)) if not is_open
    ]
    inside = inside[(inside > interval.low) & (inside < interval.high)]
    return np.concatenate([inside, ends])


def outside(values, interval, slack=1e-6):
    """The values that lie outside of an interval by more than rounding explains."""
    values = values[~np.isnan(values)]
    margins = [slack * (1 + abs(end)) if math.isfinite(end) else 0.0 for end in (interval.low, interval.high)]
    low, high = values < interval.low - margins[0], values > interval.high + margins[1]
    return values[low | high]


@pytest.mark.parametrize("name", UNARY)
def test_images_of_functions_of_one_number_contain_their_values(name):
    noise, smooth = np.random.default_rng(0), UNARY[name]
    for _ in range(100):
        domain = iv.meet(random_interval(noise), smooth.domain)
        if not domain.inside(smooth.domain):
            continue
        with np.errstate(all="ignore"):
            values = np.asarray(smooth.formula(points(noise, domain)), float)
        assert not len(outside(values, smooth.image(domain))), domain


@pytest.mark.parametrize("name", BINARY)
def test_images_of_functions_of_two_numbers_contain_their_values(name):
    noise, (formula, image) = np.random.default_rng(0), BINARY[name]
    for _ in range(300):
        one, other = random_interval(noise), random_interval(noise)
        with np.errstate(all="ignore"):
            values = formula(points(noise, one)[:, None], points(noise, other)).ravel()
        found = image(one, other)
        assert not len(outside(values, found)), (one, other)
        # Infinite values are reached where the image says so, except where zero times infinity is.
        assert not (np.isinf(values) & (found.finite)).any(), (one, other)


def test_images_of_powers_contain_their_values():
    noise = np.random.default_rng(0)
    for _ in range(200):
        domain, exponent = random_interval(noise), int(noise.integers(-3, 5))
        with np.errstate(all="ignore"):
            values = points(noise, domain)
            values = values[values != 0] ** float(exponent)
        assert not len(outside(values, integer_power(domain, exponent))), (domain, exponent)


def of_all_values(f, example):
    """A jaxpr whose results are all floating values that a function computes, and the facts of these."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        closed = jax.make_jaxpr(f)(example)
    made = [
        variable
        for equation in closed.jaxpr.eqns
        for variable in equation.outvars
        if jnp.issubdtype(getattr(variable.aval, "dtype", jnp.int32), jnp.floating) and str(variable) != "_"
    ]
    closed = ClosedJaxpr(
        closed.jaxpr.replace(outvars=made, debug_info=closed.jaxpr.debug_info.with_unknown_names()), closed.consts
    )
    graph = Graph(closed)
    inputs = [Facts(1, variable.interval, atomless=True, distinct=True) for variable in [Variable()]]
    analysis = Analysis(graph, inputs, {number: Facts() for _, number in graph.traced}, 1, {}, Budget(100_000))
    return closed, [analysis.settled(number) for number in graph.outputs]


def check_values(f, name):
    closed, facts = of_all_values(f, jnp.ones(3))
    draws = jax.random.normal(jax.random.key(1), (400, 3)) * jnp.linspace(0.2, 3, 400)[:, None]
    values = jax.jit(jax.vmap(jax.extend.core.jaxpr_as_fun(closed)))(draws)
    # XLA fuses NaN into values of other kinds, which says nothing of the analysis.
    defined = ~np.any([np.isnan(np.reshape(value, (len(draws), -1))).any(1) for value in values], axis=0)
    for value, known, variable in zip(values, facts, closed.jaxpr.outvars, strict=True):
        if not known.poles:
            found = outside(np.asarray(value, float)[defined].ravel(), known.interval, 1e-4)
            assert not len(found), (name, variable, found[:3], known.interval)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.full] if i % 16 else []) for i, n in enumerate(NAMES)]
)
def test_values_inside_functions_lie_in_their_intervals(name):
    check_values(CASES[name], name)


@pytest.mark.parametrize("seeds", [range(8), pytest.param(range(100, 400), marks=pytest.mark.full)])
def test_values_inside_random_programs_lie_in_their_intervals(seeds):
    for seed in seeds:
        f, names = program(np.random.default_rng(seed), ALL, size=3)
        check_values(f, names)
