"""``reparax gradients``: gradient estimators side by side, on problems whose answer is known."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from reparax.cli._jax import prepare_jax
from reparax.cli._say import speaker
from reparax.errors import RecipeError

_PICTURES = (".png", ".svg", ".pdf")
_TABLES = (".csv", ".parquet")


def gradients(
    *,
    cost: Literal["all", "quadratic", "exp", "cos"] = "all",
    loc: float = 1.0,
    scale: float = 1.0,
    draws: int = 64,
    repeats: int = 1000,
    seed: int = 0,
    out: Annotated[str | None, Parameter(name=["--out", "-o"])] = None,
    quiet: bool = False,
) -> None:
    """Compare gradient estimators of E[f(z)], z Normal: does the gradient flow, is it unbiased, how noisy is it.

    Reproduces the variance study of Mohamed et al. (2020), section 3: costs (z - k)^2, exp(-k z^2) and cos(k z).

    Args:
        cost: The cost f, or all three.
        loc: The mean of z.
        scale: The standard deviation of z.
        draws: Draws for each gradient; variances are given per draw.
        repeats: Gradients for each estimator.
        seed: The seed of the draws.
        out: Write the picture (.png, .svg, .pdf) or the numbers (.csv, .parquet) to this file.
        quiet: Say nothing on stderr.
    """
    from reparax.data import atomic_write, check_output

    _check(scale, draws, repeats)
    if out is not None:
        check_output(out, _PICTURES + _TABLES)
    prepare_jax()
    import jax

    from reparax.estimators._study import COSTS, study

    costs = tuple(COSTS) if cost == "all" else (cost,)
    found = study(costs, loc=loc, scale=scale, num_samples=draws, repeats=repeats, key=jax.random.key(seed))
    sys.stdout.write(f"{found}\n")
    if out is None:
        return
    suffix = Path(out).suffix.lower()
    with atomic_write(out) as file:
        if suffix in _PICTURES:
            found.plot().savefig(file, format=suffix[1:], dpi=150)
        else:
            import polars

            frame = polars.DataFrame(found.columns())
            frame.write_csv(file) if suffix == ".csv" else frame.write_parquet(file)
    speaker(quiet)(f"wrote {out}")


def _check(scale: float, draws: int, repeats: int) -> None:
    for name, value, least in (("--draws", draws, 2), ("--repeats", repeats, 2)):
        if value < least:
            raise RecipeError(
                expected=f"{name} to be at least {least}", got=str(value), cure=f"give {name} {least} or more"
            )
    if not scale > 0:
        raise RecipeError(expected="--scale to be positive", got=str(scale), cure="give a positive standard deviation")
