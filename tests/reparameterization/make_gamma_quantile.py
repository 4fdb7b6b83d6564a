"""Writes src/reparax/reparameterization/_gamma_quantile_table.py: the Gamma quantile function as a fitted polynomial.

With w standard normal, a >= 1 and s = 1 / sqrt(a), the quantile is log(x / a) = s D(w, s), where D(-w, -s) = -D(w, s)
up to terms beyond all orders: only products of Chebyshev polynomials of odd total degree are fitted, to SciPy's
inverses of the incomplete gamma functions, polished by Newton's method.
"""

from pathlib import Path

import numpy as np
from numpy.polynomial import chebyshev
from scipy import special

TARGET = Path(__file__).parents[2] / "src" / "reparax" / "reparameterization" / "_gamma_quantile_table.py"
WIDTH = 5.45
DEGREES = (42, 30)
KEEP = 1e-7


def log_ratio(a, w):
    p = special.ndtr(-np.abs(w))
    x = np.where(w < 0, special.gammaincinv(a, p), special.gammainccinv(a, p))
    for _ in range(2):
        tail = np.where(w < 0, special.gammainc(a, x), special.gammaincc(a, x))
        density = np.exp(a * np.log(x) - x - special.gammaln(a))
        x = x * np.exp(-np.where(w < 0, 1, -1) * (tail - p) / density)
    return np.log(x / a)


def chebyshev_nodes(n):
    return np.cos(np.pi * (np.arange(n) + 0.5) / n)


def fit():
    s = chebyshev_nodes(240)[:120]
    s = np.concatenate([[0.0], s[s > 0.01]])
    w = chebyshev_nodes(120) * WIDTH
    S, W = np.meshgrid(s, w, indexing="ij")
    safe = np.maximum(S, 1e-3)
    target = np.where(S > 0, log_ratio(safe**-2, W) / safe, W).ravel()
    in_w = chebyshev.chebvander(W.ravel() / WIDTH, DEGREES[0])
    in_s = chebyshev.chebvander(S.ravel(), DEGREES[1])
    pairs = np.array([(i, j) for i in range(DEGREES[0]) for j in range(DEGREES[1]) if (i + j) % 2])
    columns = in_w[:, pairs[:, 0]] * in_s[:, pairs[:, 1]]
    keep = np.abs(np.linalg.lstsq(columns, target, rcond=None)[0]) > KEEP
    coefficients = np.linalg.lstsq(columns[:, keep], target, rcond=None)[0]
    residual = (columns[:, keep] @ coefficients - target).reshape(S.shape)
    slope = np.gradient(target.reshape(S.shape), w, axis=1)
    print("terms", keep.sum(), "largest error in w", np.abs(residual / slope).max())
    return pairs[keep], coefficients


def rows(pairs, coefficients):
    """For each Chebyshev degree in w, Chebyshev coefficients in v = 2 s^2 - 1; even degrees carry a factor s."""
    for i in range(pairs[:, 0].max() + 1):
        here = pairs[:, 0] == i
        series = np.zeros(pairs[here, 1].max() + 1)
        series[pairs[here, 1]] = coefficients[here]
        in_square = np.polynomial.Polynomial(chebyshev.cheb2poly(series)[(i + 1) % 2 :: 2])
        yield chebyshev.poly2cheb(in_square(np.polynomial.Polynomial([0.5, 0.5])).coef)


def main():
    table = list(rows(*fit()))
    print("largest sum of coefficients", max(np.abs(row).sum() for row in table))
    lines = [
        '"""The Gamma quantile function in numbers; written by tests/reparameterization/make_gamma_quantile.py."""',
        "",
        f"WIDTH = {WIDTH}",
        "",
        "# Row i: Chebyshev series in 2/a - 1 of the coefficient of T_i(w / WIDTH) in log(x/a) sqrt(a),",
        "# over sqrt(1/a) for even i.",
        "# fmt: off",
        "COEFFICIENTS = (",
    ]
    for row in table:
        line = "    ("
        for value in row:
            text = f"{value:.8e}, "
            if len(line) + len(text) > 118:
                lines.append(line.rstrip())
                line = "     "
            line += text
        lines.append(line.rstrip() + "),")
    TARGET.write_text("\n".join([*lines, ")", "# fmt: on", ""]))


if __name__ == "__main__":
    main()
