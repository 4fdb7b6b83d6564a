"""Sums that some jax releases get wrong are right once reparax is imported."""

import os
import subprocess
import sys

from reparax import _xla

CODE = """
import jax, jax.numpy as jnp, numpy as np
import reparax
p = jax.random.normal(jax.random.key(2), (20000, 2))
c = jax.random.normal(jax.random.key(3), (7, 20000, 2))
fast = jax.jit(lambda p, c: (p * c).sum(-1) + 1)(p, c)
exact = (np.asarray(p, np.float64) * np.asarray(c, np.float64)).sum(-1) + 1
print(np.abs(np.asarray(fast) - exact).max() < 1e-5)
"""


def run(code, **environment):
    clean = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**clean, **environment}
    )
    return done.stdout.strip()


def test_a_broadcast_product_sums_to_the_right_numbers():
    assert run(CODE) == "True"


def test_a_users_own_setting_of_the_flag_stays():
    flag = "--xla_cpu_experimental_ynn_fusion_type=dot"
    assert run("import os, reparax; print(os.environ['XLA_FLAGS'])", XLA_FLAGS=flag) == flag


def test_the_sums_of_later_releases_are_mended_where_they_know_the_flag(tmp_path, monkeypatch):
    monkeypatch.setattr(_xla, "_WITH_FLAG", ())
    assert _xla._has_flag()  # read from the library itself
    monkeypatch.setattr(_xla, "_FLAG", "--xla_cpu_no_such_flag_of_any_release")
    assert not _xla._has_flag()
    for content in (b"", b"\0" * 100 + _xla._FLAG.encode()[2:] + b"\0"):
        (tmp_path / "library").write_bytes(content)
        assert _xla._names_flag(str(tmp_path / "library")) == bool(content)
    assert not _xla._names_flag(str(tmp_path / "none"))
