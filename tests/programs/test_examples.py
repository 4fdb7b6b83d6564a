"""The examples of programs, at reduced size."""

import importlib.util
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(folder, name):
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_policy_gradient():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = script("examples", "policy_gradient").main(50)
    assert found["z"] < 5
    assert found["uniform"] + 0.5 * (found["best"] - found["uniform"]) < found["trained"] < found["best"]


def test_hierarchical_inference():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = script("examples", "hierarchical_inference").main(200)
    assert abs(found["trained"] - found["best"]) < 0.1 * (found["best"] - found["start"])
    assert found["scored"] > 4 * found["enumerated"]


@pytest.mark.full
def test_sites_beside_code_by_hand():
    """The gradient is right, its variance is that of code by hand, and far below that with whole returns."""
    found = script("benchmarks", "programs").policy_gradients(steps=30, episodes=8, repeats=200, turns=1)
    assert all(row.z < 5 for row in found.values())
    assert 0.7 < found["sites"].variance / found["by hand"].variance < 1.4
    assert found["whole returns"].variance > 10 * found["sites"].variance
