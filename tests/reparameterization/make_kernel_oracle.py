"""Writes kernel_oracle_gamma.csv and kernel_oracle_beta.csv: implicit derivatives to 12 digits, by differencing CDFs.

Needs mpmath: python make_kernel_oracle.py. The CDF is integrated numerically at 40 digits and differenced in the
parameter, so that neither the score identity nor any series of the kernels is relied on.
"""

import csv
from pathlib import Path

import mpmath as mp
import numpy as np

HERE = Path(__file__).parent
LEVELS = (0.0, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1 - 1e-4, 1.0)
mp.mp.dps = 40


def log_gamma_draws(a, rng, n=400_000):
    return np.log(rng.standard_gamma(a + 1, n)) - rng.standard_exponential(n) / a


def integrate(log_density, start, end, width):
    """Panels no wider than the density's features."""
    panels = max(1, int(mp.ceil((end - start) / width)))
    return mp.quad(lambda t: mp.exp(log_density(t)), mp.linspace(start, end, panels + 1), method="gauss-legendre")


def differenced(cdf, a):
    h = a * mp.mpf(10) ** -10
    return (cdf(a + h) - cdf(a - h)) / (2 * h)


def gamma_row(a, y):
    a, y = mp.mpf(a), mp.mpf(y)
    right = y > mp.log(a)

    def tail(a):
        """The lower or upper tail probability at y, times the same Gamma(a) and density factor."""

        def log_density(t):
            return a * t - mp.exp(t) - (a0 * y - mp.exp(y))

        width = 4 / mp.sqrt(a0 + 1)
        norm = mp.gamma(a) if a0 < 100 else mp.exp(mp.loggamma(a) - mp.loggamma(a0))
        if right:
            end = mp.log(mp.exp(y) + 120 + 16 * mp.sqrt(a0))
            return -integrate(log_density, y, end, width) / norm
        start = min(y, -80 - mp.log(a0 + 1)) if a0 < 100 else y - 16 / mp.sqrt(a0) - 8 / a0
        head = mp.exp(log_density(start)) / a if a0 < 100 else 0
        return (head + (integrate(log_density, start, y, width) if start < y else 0)) / norm

    a0 = a
    norm = mp.gamma(a0) if a0 < 100 else mp.mpf(1)
    return -differenced(tail, a) * norm


def beta_row(a, b, z):
    a, b, z = mp.mpf(a), mp.mpf(b), mp.mpf(z)
    if z > mp.log(a / b):
        in_b, in_a = beta_row(b, a, -z)
        return -in_a, -in_b
    a0, b0 = a, b
    softplus = lambda t: mp.log1p(mp.exp(t))  # noqa: E731

    def lower(a, b):
        top = a0 * z - (a0 + b0) * softplus(z)

        def log_density(t):
            return a * t - (a + b) * softplus(t) - top

        spread = mp.sqrt(1 / a0 + 1 / b0)
        norm = mp.exp(mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b) - log_beta0)
        reach = min(16 * spread + 80 / a0, 100 + mp.log(a0 + b0 + 1))
        start = min(z, max(z - reach, -80 - mp.log(a0 + b0 + 1))) if a0 < 30 else z - reach
        exact_head = start <= -79 - mp.log(a0 + b0 + 1)
        head = mp.exp(log_density(start)) / a if exact_head else 0
        body = integrate(log_density, start, z, min(2, 4 * spread)) if start < z else 0
        return (head + body) / norm

    log_beta0 = mp.loggamma(a0) + mp.loggamma(b0) - mp.loggamma(a0 + b0)
    return -differenced(lambda a: lower(a, b0), a0), -differenced(lambda b: lower(a0, b), b0)


def main():
    rng = np.random.default_rng(0)
    shapes = (1e-3, 0.01, 0.1, 0.3, 0.7, 1.0, 1.5, 3.0, 10.0, 50.0, 300.0, 900.0, 1500.0, 1e4, 1e5, 1e6, 1e7)
    with (HERE / "kernel_oracle_gamma.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["a", "log_x", "derivative"])
        for a in shapes:
            for y in np.quantile(log_gamma_draws(a, rng), LEVELS):
                out.writerow([a, repr(float(y)), mp.nstr(gamma_row(a, y), 12)])
    shapes = (0.01, 0.1, 0.6, 1.0, 2.0, 10.0, 100.0, 900.0, 1500.0, 1e5, 1e6)
    with (HERE / "kernel_oracle_beta.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["a", "b", "logit", "in_a", "in_b"])
        for a in shapes:
            for b in shapes:
                draws = log_gamma_draws(a, rng, 100_000) - log_gamma_draws(b, rng, 100_000)
                for z in np.quantile(draws, (0.0, 0.01, 0.3, 0.7, 0.99, 1.0)):
                    out.writerow([a, b, repr(float(z)), *(mp.nstr(v, 12) for v in beta_row(a, b, z))])
                file.flush()


if __name__ == "__main__":
    main()
