"""Values that are undefined or infinite in some places only: every test of them jumps where they become so."""

import jax
import jax.numpy as jnp
import pytest

from reparax.continuity import Variable, judge

X = jnp.ones(())
HIDDEN = {
    "selected": lambda x, y: jnp.where(x > 0, y, jnp.nan),
    "branch": lambda x, y: jax.lax.cond(x > 0, lambda: y, lambda: jnp.nan),
    "product": lambda x, y: y * jnp.where(x > 0, 1.0, jnp.nan),
    "sum": lambda x, y: y + jnp.where(x > 0, 0.0, jnp.nan),
    "clipped": lambda x, y: jnp.clip(jnp.where(x > 0, y, jnp.nan), -3.0, 3.0),
    "infinite": lambda x, y: y + jnp.where(x > 0, 0.0, jnp.inf),
    "infinite of either sign": lambda x, y: y + jnp.where(x > 0, 0.0, -jnp.inf) + jnp.where(y > x, 0.0, jnp.inf),
    "root": lambda x, y: y + 0 * jnp.sqrt(x),
}
TESTS = {
    "isnan": jnp.isnan,
    "isinf": jnp.isinf,
    "isfinite": jnp.isfinite,
    "equal": lambda v: v == v,
    "unequal": lambda v: v != v,
    "not less": lambda v: v >= v,
    "in a range": lambda v: jnp.abs(v) >= 0,
    "replaced": lambda v: jnp.nan_to_num(v, nan=7.0, posinf=8.0, neginf=9.0),
    "counted": lambda v: jnp.nansum(jnp.stack([v, v * 0 + 1])),
}


def changes(f) -> bool:
    """Whether f has another value on the two sides of x = 0."""
    with jax.numpy_dtype_promotion("standard"):
        low, high = (jnp.asarray(f(jnp.float32(x), jnp.float32(0.3)), float) for x in (-1e-6, 1e-6))
    return bool(abs(float(low) - float(high)) > 0.1)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_a_test_of_what_may_be_undefined_jumps(hidden):
    seen = []
    for name, test in TESTS.items():

        def f(x, y, test=test):
            return jnp.asarray(test(HIDDEN[hidden](x, y)), jnp.float32)

        if not changes(f):
            continue
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            closed = jax.make_jaxpr(f)(X, X)
        assert judge(closed, [Variable(), Variable()]).variables[0] is not None, name
        seen.append(name)
    assert len(seen) >= 3


@pytest.mark.parametrize("test", TESTS)
def test_data_that_are_undefined_do_not_jump(test):
    data = jnp.array([1.0, jnp.nan])

    def f(x):
        known = jnp.where(jnp.isnan(data), 0.0, x)
        return jnp.sum(known) + jnp.sum(jnp.asarray(TESTS[test](data), jnp.float32))

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        closed = jax.make_jaxpr(f)(X)
    assert judge(closed, [Variable()]).variables == (None,)
