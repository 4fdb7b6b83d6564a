"""Marks in a program for the analysis, and the functions of jax that it trusts by name and file."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Jaxpr

from reparax.continuity.interval import REAL, Interval
from reparax.errors import InvalidEstimator

_PREFIX = "reparax_"
SOURCE, DRAWN, TRUSTED, GUARDED = "source", "drawn", "trusted", "guarded"
# Continuous wherever they are defined; where the second entry is not None, only for arguments in that domain.
_SPECIAL = {
    "ndtr": None, "log_ndtr": None, "hypot": None, "i0": None, "i0e": None, "i1": None, "i1e": None, "sinc": None,
    "_sinc_maclaurin": None, "erf_inv": "open unit", "ndtri": "unit", "betaln": "positive", "gammaln": "positive",
    "digamma": "positive", "polygamma": "positive", "expi": "positive", "exp1": "positive", "expn": "positive",
}  # fmt: skip
_FILES = ("jax/_src/scipy/special.py", "jax/_src/third_party/scipy/", "jax/_src/numpy/ufuncs.py")
_DETERMINANT = "jax/_src/numpy/linalg.py"
_INTERPOLATION = "jax/_src/numpy/lax_numpy.py"


def marker_of(jaxpr: Jaxpr) -> tuple[str, str] | None:
    """The kind and the name of a marker; ``None`` for any other function."""
    name, _ = defined(jaxpr)
    if not name.startswith(_PREFIX):
        return None
    kind, _, rest = name.removeprefix(_PREFIX).partition(":")
    return (kind, rest) if kind in {SOURCE, DRAWN, TRUSTED, GUARDED} else None


def defined(jaxpr: Jaxpr) -> tuple[str, str]:
    """The name of the function that a jaxpr was made from, and the file that defines it; empty where unknown."""
    text = getattr(jaxpr.debug_info, "func_src_info", None) or ""
    name, _, place = text.partition(" at ")
    return name, place.replace("\\", "/").rpartition(":")[0]


@functools.lru_cache(maxsize=4096)
def _identity(kind: str, name: str, refuse: Callable[[], Exception] | None) -> Callable[[Any], Any]:
    def same(value: Any) -> Any:
        return value

    same.__name__ = same.__qualname__ = f"{_PREFIX}{kind}:{name}"
    marked = jax.custom_jvp(same)

    def derivative(primals: Any, tangents: Any) -> Any:
        if refuse is not None:
            raise refuse()
        return marked(primals[0]), tangents[0]

    marked.defjvp(derivative)
    return marked


def _each(kind: str, name: str, tree: Any, refuse: Callable[[], Exception] | None = None) -> Any:
    mark = _identity(kind, name, refuse)
    return jax.tree.map(lambda x: mark(x) if jnp.issubdtype(jnp.result_type(x), jnp.inexact) else x, tree)


def source(value: Any, name: str, interval: Interval = REAL) -> Any:
    """A draw inside a program, as a variable for which the analysis says whether the program is continuous in it.

    Args:
        value: The draw.
        name: Its name in the verdict; several draws with one name are one variable.
        interval: Its support, or an interval that contains it.
    """
    return _each(SOURCE, f"{interval.low!r},{interval.high!r},{name}", value)


def source_of(text: str) -> tuple[Interval, str]:
    """The interval and the name of a source."""
    low, high, name = text.split(",", 2)
    return Interval(float(low), float(high), True, True), name


def drawn(value: Any) -> Any:
    """A draw inside a program that is a constant for differentiation: scored or enumerated."""
    return _each(DRAWN, "", value)


def trusted(value: Any) -> Any:
    """A value whose derivative is trusted: that of an expectation, or of a function assumed to be continuous."""
    return _each(TRUSTED, "", value)


def guarded(value: Any) -> Any:
    """A value on which the location of a jump depends: differentiating it raises, as the derivative would be wrong."""
    return _each(GUARDED, "", value, _moves_a_jump)


def guarded_in(results: Any, values: Sequence[Any]) -> Any:
    """Results that raise if they are differentiated in any of some values on which the location of a jump depends."""
    return _guarded_in(results, list(values)) if values else results


@jax.custom_jvp
def _guarded_in(results: Any, values: list[Any]) -> Any:
    return results


def _guarded_in_jvp(primals: Any, tangents: Any) -> Any:
    (results, values), (slopes, directions) = primals, tangents
    if not all(isinstance(direction, SymbolicZero) for direction in jax.tree.leaves(directions, is_leaf=_is_zero)):
        raise _moves_a_jump()
    slopes = jax.tree.map(lambda s, r: jnp.zeros_like(r) if _is_zero(s) else s, slopes, results, is_leaf=_is_zero)
    return _guarded_in(results, values), slopes


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


_guarded_in.defjvp(_guarded_in_jvp, symbolic_zeros=True)


def _moves_a_jump() -> InvalidEstimator:
    return InvalidEstimator(
        expected="a derivative with respect to values that do not move a jump of f (or to parameters of q only)",
        got="a derivative with respect to a value inside f on which the place of a jump in z depends: samples miss the "
        "mass that crosses it",
        cure="move the parameter into q (so that f jumps at a fixed place), use estimator='boundary', or hold the "
        "value constant with jax.lax.stop_gradient",
    )


class AssumedContinuous(eqx.Module):
    """A function that is assumed to be continuous in its argument: it is not inspected.

    Wrap an f that `Pathwise` refuses although it is continuous: ``expectation(AssumedContinuous(f), q, key=key)``. Also
    wrap a surrogate whose derivative is intended, such as a straight-through threshold.
    """

    function: Callable[..., Any]

    def __call__(self, *args: Any, **named: Any) -> Any:
        """The function's value, trusted."""
        return trusted(self.function(*args, **named))


def trusted_name(jaxpr: Jaxpr, known: Sequence[np.ndarray | None]) -> str | None:
    """The name of the continuous library function that a call is, with its domain; ``None`` if it is none.

    Args:
        jaxpr: The function.
        known: The values of its arguments, where they are known.
    """
    name, file = defined(jaxpr)
    if name == "_interp" and file.endswith(_INTERPOLATION):
        return "interp" if _is_interpolation(known) else None
    if name in {"det", "_det"} and file.endswith(_DETERMINANT):
        return "det"
    if name in _SPECIAL and any(part in file for part in _FILES):
        return f"{name}:{_SPECIAL[name] or ''}"
    return None


def _is_interpolation(known: Sequence[np.ndarray | None]) -> bool:
    """Whether an interpolation is continuous: it has no ``left`` or ``right``, and known, increasing knots."""
    knots = known[1] if len(known) == 3 else None
    return knots is not None and bool(np.isfinite(knots).all()) and bool((np.diff(knots.astype(np.float64)) > 0).all())
