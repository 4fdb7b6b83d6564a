"""Sums that one jax release gets wrong are right once reparax is imported."""

import os
import subprocess
import sys

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
