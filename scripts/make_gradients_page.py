"""Writes the table of docs/gradients.md, between its markers, from what the families declare of themselves."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax import distributions as own
from reparax.reparameterization import parameter_rules

PAGE = Path(__file__).resolve().parents[1] / "docs" / "gradients.md"
START, END = "<!-- table of families: made by scripts/make_gradients_page.py -->", "<!-- end of the table -->"


def families() -> Iterator[tuple[str, dist.Distribution]]:
    """Every differentiable family with its name: numpyro's from the tables of the tests, and our own."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from make_unbiasedness_page import test_module

    for case in test_module("reparameterization.test_rsample_unbiased").CASES:
        yield type(case.distribution).__name__, case.distribution
    half = dist.Categorical(probs=jnp.full(2, 0.5))
    yield "TruncatedNormal", dist.TruncatedNormal(0.0, 1.0, low=-1.0, high=1.0)
    yield "TruncatedDistribution", dist.TruncatedDistribution(dist.Logistic(0.0, 1.0), low=0.0)
    yield "MixtureSameFamily", dist.MixtureSameFamily(half, dist.Normal(jnp.zeros(2), 1.0))
    yield "MixtureGeneral", dist.MixtureGeneral(half, [dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)])
    yield from OWN


EAST, ONES = jnp.array([1.0, 0.0, 0.0]), jnp.ones(2)
OWN = (
    ("ContinuousBernoulli", own.ContinuousBernoulli(0.3, 0.0, 1.0)),
    ("HyperboloidNormal", own.HyperboloidNormal(jnp.zeros(2), ONES)),
    ("LogDirichlet", own.LogDirichlet(ONES)),
    ("LogGamma", own.LogGamma(1.0, 1.0)),
    ("LogisticNormal", own.LogisticNormal(jnp.zeros(2), ONES)),
    ("LogitBeta", own.LogitBeta(1.0, 1.0)),
    ("PoincareNormal", own.PoincareNormal(jnp.zeros(2), ONES)),
    ("PowerSpherical", own.PowerSpherical(EAST, 2.0)),
    ("VonMisesFisher", own.VonMisesFisher(EAST, 2.0)),
)


def rows() -> list[str]:
    """One line per family and way, parameters of one way together."""
    lines: dict[str, list[str]] = {}
    for name, q in families():
        ways: dict[tuple[str, str, str], list[str]] = {}
        for rule in parameter_rules(q):
            ways.setdefault((rule.method, rule.reason, rule.reference), []).append(rule.parameter)
        source = f"`{name}`" if any(name == known for known, _ in OWN) else name
        lines[name] = [
            f"| {source} | {', '.join(dict.fromkeys(names))} | {method} | {_literal('; '.join(filter(None, notes)))} |"
            for (method, *notes), names in ways.items()
        ]
    return [line for name in sorted(lines) for line in lines[name]]


def _literal(note: str) -> str:
    """Powers as code: markdown would take the carets away."""
    return f"`{note}`" if "^" in note else note


def page(text: str) -> str:
    """The page with its table made anew."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    table = ["| family | parameters | how | condition, reference |", "|---|---|---|---|", *rows()]
    return before + START + "\n\n" + "\n".join(table) + "\n\n" + END + after


if __name__ == "__main__":
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
