"""Data that are pytrees of arrays: values with their context, and what is refused."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reparax.errors import DataError
from reparax.training import BATCH, fit, sees_batch
from reparax.training._examples import as_examples, num_examples, take

RNG = np.random.default_rng(0)
WHOLE, VALID = RNG.normal(size=(30, 5)).astype(np.float32), RNG.normal(size=(11, 5)).astype(np.float32)


class Terms(eqx.Module):
    objective: jax.Array
    bound: jax.Array


class Rows(eqx.Module):
    """Data may be a value of one's own."""

    rows: jax.Array
    name: str = eqx.field(static=True)


# Each is a way to cut a row of five numbers, and to put it together.
CUTS = {
    "pair": (lambda x: (x[:, :2], x[:, 2:]), lambda x: jnp.concatenate(x)),
    "names": (lambda x: {"b": x[:, 3:], "a": x[:, :3]}, lambda x: jnp.concatenate([x["a"], x["b"]])),
    "nested": (
        lambda x: (x[:, 0], [x[:, 1:3], {"rest": x[:, 3:, None]}]),
        lambda x: jnp.concatenate([x[0][None], x[1][0], x[1][1]["rest"][:, 0]]),
    ),
    "no context": (lambda x: (x, None), lambda x: x[0]),
    "module": (lambda x: Rows(jnp.asarray(x), "five"), lambda x: x.rows),
}


def noisy(join, collective=lambda z: z):
    def objective(model, x, *, key, step):
        z = jnp.dot(model, join(x)) + jax.random.normal(key)
        value = -((z - 1.0) ** 2) + collective(z)
        return Terms(value, value)

    return objective


def jittered(x, key):
    """Moves the first array of an example, whatever the structure."""
    leaves, structure = jax.tree.flatten(x)
    return jax.tree.unflatten(structure, [leaves[0] + jax.random.uniform(key), *leaves[1:]])


def trained(cut, objective, transform=None):
    return fit(
        jnp.zeros(5), objective, cut(WHOLE), key=jax.random.key(0), optimizer=optax.sgd(0.01), epochs=5, batch_size=8,
        valid=cut(VALID), transform=transform,
    )  # fmt: skip


def whole(x):
    return x


def variance(z):
    return -((z - jax.lax.pmean(z, BATCH)) ** 2)


@cache
def trained_whole(collective):
    return trained(whole, noisy(whole, collective))


@pytest.mark.parametrize("name", sorted(CUTS))
def test_cut_data_train_as_whole_data_do(name):
    cut, join = CUTS[name]
    for collective in (jnp.zeros_like, variance):
        found = trained(cut, noisy(join, collective))
        wanted = trained_whole(collective)
        np.testing.assert_allclose(found.model, wanted.model, rtol=1e-5, atol=1e-6)
        for one, other in zip(found.history, wanted.history, strict=True):
            assert one.train == pytest.approx(other.train, rel=1e-5)
            assert one.valid == pytest.approx(other.valid, rel=1e-5)
        assert sees_batch(jnp.zeros(5), noisy(join, collective), cut(WHOLE), batch_size=8) == (collective is variance)


def test_the_transform_gets_and_gives_an_example_of_the_structure():
    cut, join = CUTS["nested"]

    def by_hand(x, key):
        return jnp.concatenate([x[:1] + jax.random.uniform(key), x[1:]])

    found = trained(cut, noisy(join), transform=jittered)
    wanted = trained(whole, noisy(whole), transform=by_hand)
    np.testing.assert_allclose(found.model, wanted.model, rtol=1e-5, atol=1e-6)
    assert found.history[-1].valid == pytest.approx(wanted.history[-1].valid, rel=1e-5)


def test_arrays_of_a_pytree_keep_their_dtypes_and_belong_to_the_giver():
    pixels, context = jnp.full((6, 2), 200, jnp.uint8), jnp.ones((6, 1))
    seen = []

    def objective(model, x, *, key, step):
        seen.append((x[0].dtype, x[1].dtype, x[0].shape, x[1].shape))
        value = jnp.sum(model * x[1]) - jnp.sum(x[0].astype(jnp.float32)) * 0.0
        return Terms(value, value)

    fit(
        jnp.zeros(1), objective, (pixels, context), key=jax.random.key(0), optimizer=optax.sgd(0.1), epochs=2,
        batch_size=3,
    )  # fmt: skip
    assert set(seen) == {(jnp.dtype("uint8"), jnp.dtype("float32"), (2,), (1,))}
    assert not pixels.is_deleted()
    np.testing.assert_array_equal(context, np.ones((6, 1)))


def trees(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3),
            st.tuples(inner, st.none()),
            st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2),
        ),
        max_leaves=5,
    )


shapes = st.lists(st.integers(0, 3), max_size=2).map(tuple)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(trees(st.tuples(st.integers(0, 3), shapes).map(lambda drawn: np.zeros((drawn[0], *drawn[1])))))
def test_arrays_of_any_structure_are_taken_or_refused_by_their_first_axes(tree):
    counts = {len(leaf) for leaf in jax.tree.leaves(tree)}
    if len(counts) == 1 and counts != {0}:
        examples = as_examples(tree, "data")
        assert num_examples(examples) == counts.pop()
        one = take(examples, jnp.asarray(0))
        assert [x.shape for x in jax.tree.leaves(one)] == [x.shape[1:] for x in jax.tree.leaves(tree)]
        return
    with pytest.raises(DataError) as caught:
        as_examples(tree, "data")
    if len(counts) > 1:
        assert all(str(count) in caught.value.got for count in counts)


@pytest.mark.parametrize("data", [(), None, 3.0, (np.ones((2, 2)), 1.0), {"a": np.zeros((0, 3))}])
def test_what_is_no_examples_is_refused(data):
    with pytest.raises(DataError):
        fit(
            jnp.zeros(1), noisy(whole), data, key=jax.random.key(0), optimizer=optax.sgd(0.1), epochs=1,
            batch_size=2,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("valid", "match"),
    [
        (VALID, "valid: examples with the structure of data"),
        ((VALID, VALID[:3]), "valid: the same number of examples .* 11, 3 examples"),
        ((VALID[:0], VALID[:0]), "valid: at least one example"),
    ],
)
def test_held_out_examples_must_be_made_up_as_the_examples(valid, match):
    with pytest.raises(DataError, match=match):
        fit(
            jnp.zeros(5), noisy(lambda x: x[0]), (WHOLE, WHOLE), key=jax.random.key(0), optimizer=optax.sgd(0.1),
            epochs=1, batch_size=2, valid=valid,
        )  # fmt: skip
