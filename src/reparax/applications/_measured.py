"""Numbers with confidence intervals: fractions, and how well a score separates two groups."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

NORMAL_95 = 1.959964
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Measured:
    """A number with its 95 % confidence interval.

    Attributes:
        value: The estimate.
        low: The lower end of the interval.
        high: The upper end.
    """

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def separation(upper: Float[np.ndarray, " m"], lower: Float[np.ndarray, " n"]) -> Measured:
    """The area under the ROC curve: P(a number of the first group is above one of the second), ties counted half.

    0.5 if the groups have one distribution, 1 if every number of the first is above every one of the second. The
    interval is that of DeLong et al. (1988), from the variances of the two groups' placements.

    Args:
        upper: The numbers that should be higher.
        lower: The others.
    """
    from scipy.stats import rankdata  # here, as the explorer opens without it

    m, n = len(upper), len(lower)
    ranks = rankdata(np.concatenate([upper, lower]))
    of_upper = (ranks[:m] - rankdata(upper)) / n
    of_lower = 1 - (ranks[m:] - rankdata(lower)) / m
    area = float(of_upper.mean())
    variance = sum(part.var(ddof=1) / len(part) if len(part) > 1 else 0.25 for part in (of_upper, of_lower))
    # Between two perfectly separated groups nothing varies: as if one more number of the smaller one were half-way.
    half = NORMAL_95 * max(float(np.sqrt(variance)), 0.5 / (min(m, n) + 1))
    return Measured(area, max(0.0, area - half), min(1.0, area + half))


def fraction(value: float, count: float) -> Measured:
    """A fraction of (effectively) so many independent cases, with Wilson's interval (1927)."""
    z2 = NORMAL_95**2
    middle = (value + z2 / (2 * count)) / (1 + z2 / count)
    half = NORMAL_95 / (1 + z2 / count) * np.sqrt(value * (1 - value) / count + z2 / (4 * count**2))
    return Measured(value, float(max(0.0, middle - half)), float(min(1.0, middle + half)))
