"""Many batches are computed in threads, where nothing but the compiled program may count."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_wine

import reparax as rx
from reparax.applications._rows import LARGEST_BATCH, _in_order, _num_workers

ROWS = np.tile(load_wine().data, (3 * LARGEST_BATCH // 178 + 1, 1))  # four batches


@pytest.fixture(scope="module")
def fitted():
    return rx.fit(load_wine().data, likelihood="normal", epochs=1, width=8, latent_dim=2)


def test_a_context_of_the_caller_reaches_every_batch(fitted):
    with jax.enable_x64(True):
        codes = rx.encode(fitted, ROWS)
    np.testing.assert_allclose(codes, rx.encode(fitted, ROWS), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(codes[:178], codes[-178:])


def test_results_come_in_order_and_errors_reach_the_caller():
    def slow_at_first(number):
        time.sleep(0.05 if number == 0 else 0)
        return 6 // (4 - number)

    assert list(_in_order(slow_at_first, ((number,) for number in range(4)), 2)) == [1, 2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        list(_in_order(slow_at_first, ((number,) for number in range(9)), 2))


def test_programs_that_call_lapack_run_one_at_a_time():
    def solved(factor, x):
        return jax.scipy.linalg.solve_triangular(factor, x, lower=True)

    arguments = jnp.eye(3) + jnp.tril(jnp.ones((5, 3, 3))), jnp.ones((5, 3))
    assert _num_workers(jax.jit(jax.vmap(solved)).lower(*arguments).compile()) == 1
    assert _num_workers(jax.jit(lambda factor, x: factor.sum() + x).lower(*arguments).compile()) > 1
