"""What a differentially private fit guarantees, which is saved with the model."""

import msgspec


class Guarantee(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fit is (epsilon, delta)-differentially private: no single row changes the odds of any model by much.

    For all tables D and D' that differ by one row, and all sets S of fitted models,
    P(fit(D) in S) <= exp(epsilon) P(fit(D') in S) + delta: Dwork & Roth (2014), definition 2.4.

    Attributes:
        epsilon: The largest change of the logarithm of the odds, nats.
        delta: The probability with which it may be larger.
        clip_norm: The largest norm of the gradient of one row.
        noise_multiplier: The noise of the sum of gradients, in multiples of it.
        sampling_rate: The probability with which a row enters a batch.
        steps: The number of steps.
        description_noise: The standard deviation of the noise of the counts that describe the columns, in rows.
        num_histograms: How many histograms have these counts.
    """

    epsilon: float
    delta: float
    clip_norm: float
    noise_multiplier: float
    sampling_rate: float
    steps: int
    description_noise: float
    num_histograms: int

    def __str__(self) -> str:
        return (
            f"({self.epsilon:g}, {self.delta:.3g})-differentially private for tables that differ by one row: "
            f"{self.steps} steps with noise of {self.noise_multiplier:.3g} times the gradient of a row, drawn with "
            f"probability {self.sampling_rate:.3g}, and counts with noise of {self.description_noise:.3g} rows"
        )
