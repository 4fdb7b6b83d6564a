"""Functions of jax that are continuous, but whose code does not show it: approximations in pieces, and tables.

They are recognized by their names and the file that defines them, never by a name alone. A release of jax that moves
them makes them unknown, so that functions that use them are refused, not trusted.
"""

from collections.abc import Sequence

import numpy as np
from jax.extend.core import Jaxpr

from reparax.continuity._markers import defined

# Continuous wherever they are defined; where the second entry is not None, only for arguments in that domain.
_SPECIAL = {
    "ndtr": None, "log_ndtr": None, "hypot": None, "i0": None, "i0e": None, "i1": None, "i1e": None, "sinc": None,
    "_sinc_maclaurin": None, "erf_inv": "open unit", "ndtri": "unit", "betaln": "positive", "gammaln": "positive",
    "digamma": "positive", "polygamma": "positive", "expi": "positive", "exp1": "positive", "expn": "positive",
}  # fmt: skip
_FILES = ("jax/_src/scipy/special.py", "jax/_src/third_party/scipy/", "jax/_src/numpy/ufuncs.py")
_DETERMINANT = "jax/_src/numpy/linalg.py"
_INTERPOLATION = "jax/_src/numpy/lax_numpy.py"


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
    """Whether an interpolation has no ends of its own and known, increasing knots, without which it is a step."""
    knots = known[1] if len(known) == 3 else None
    return knots is not None and bool(np.isfinite(knots).all()) and bool((np.diff(knots.astype(np.float64)) > 0).all())
