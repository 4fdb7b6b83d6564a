"""How much the compiler optimizes, by what is computed; a setting of the user is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reparax.compiler import compiled, effort_for, effort_for_rows, options

on_the_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="other backends always optimize")


@on_the_cpu
def test_the_more_a_program_computes_the_more_it_is_optimized():
    assert [effort_for(size) for size in (700 * 56 * 8, 20_000 * 50, 60_000 * 784)] == ["little", "some", "full"]
    assert [effort_for_rows(count) for count in (700, 60_000)] == ["some", "full"]


def test_a_level_that_the_user_chose_is_kept(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=2")
    assert options("some") == options("full") == {}
    monkeypatch.setenv("XLA_FLAGS", "")
    assert options("some")["xla_backend_optimization_level"] == 1
    assert options("little")["xla_backend_optimization_level"] == 0


def test_the_compiler_knows_the_options_and_every_effort_gives_the_same_numbers(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")

    def softmax(x):
        return jnp.exp(x - jnp.max(x)) / jnp.sum(jnp.exp(x - jnp.max(x)))

    x = np.linspace(-3, 3, 7, dtype=np.float32)
    for effort, function in compiled(softmax).items():
        np.testing.assert_allclose(function(x), softmax(x), rtol=1e-6, err_msg=effort)
