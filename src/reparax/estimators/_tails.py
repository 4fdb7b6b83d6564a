"""How heavy the tail of a sample is, by a generalized Pareto fit."""

import numpy as np
from jaxtyping import Float


def tail_shape(sample: Float[np.ndarray, " n"]) -> float:
    """The shape k of a generalized Pareto distribution fitted to the largest absolute deviations; nan if too few.

    Moments of order r exist for k < 1/r: above 1/2 the variance is in doubt. Zhang & Stephens (2009), as used by
    Vehtari, Simpson, Gelman, Yao & Gabry (2024), appendix.
    """
    deviations = np.sort(np.abs(sample - np.median(sample)))
    count = int(min(0.2 * len(sample), 3 * np.sqrt(len(sample))))
    if count < 10:
        return float("nan")
    largest = deviations[-count:]
    excess = largest - deviations[-count - 1]
    # A few repeated values (a discrete variable) or rounding noise alone have no tail to speak of.
    rounding = 1e-5 * np.abs(sample).mean()
    if len(np.unique(largest)) < 0.8 * count or excess[-1] <= rounding:
        return float("nan")
    return _fit(np.maximum(excess, 1e-12 * excess[-1]))


def _fit(excess: Float[np.ndarray, " m"]) -> float:
    count = len(excess)
    grid = 30 + int(np.sqrt(count))
    quartile = excess[int(count / 4 + 0.5) - 1]
    b = 1 / excess[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quartile)
    k = np.mean(np.log1p(-b[:, None] * excess[None]), axis=1)
    likelihood = count * (np.log(-b / k) - k - 1)
    weights = 1 / np.sum(np.exp(np.clip(likelihood[None] - likelihood[:, None], -700, 700)), axis=1)
    best = np.sum(b * weights) / np.sum(weights)
    shape = float(np.mean(np.log1p(-best * excess)))
    # A weak prior around 1/2 steadies the fit on few points.
    return shape * count / (count + 10) + 0.5 * 10 / (count + 10)
