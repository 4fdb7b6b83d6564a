"""Whether the bound still rose when training ended."""

from collections.abc import Sequence

import numpy as np

from reparax.training._record import Record

FEWEST_RECORDS = 3
LEAST_RISE = 0.05
"""A bound that rises by fewer nats than this is not said to improve."""
LEVELED = 0.17
"""The largest fraction of the rise in the last quarter of training for which the bound is said to have leveled off: a
curve that nears its limit as 1/t has it."""


def late_rise(history: Sequence[Record], warmup: int) -> tuple[float, float]:
    """The rise of the bound in the last quarter of training: of its rise since the first third, and in nats.

    The first third, and the warm-up of the KL where that is longer, are left out: everything improves there.

    Args:
        history: The records of training.
        warmup: The epochs of the warm-up.
    """
    if len(history) < FEWEST_RECORDS:
        return float("nan"), 0.0
    bounds = np.asarray([(record.valid or record.train).get("bound", np.nan) for record in history])
    epochs = np.asarray([record.epoch for record in history])
    begin, late = max(epochs[-1] / 3, warmup), 0.75 * epochs[-1]
    if begin >= late:
        return float("nan"), 0.0
    first, middle = (float(np.interp(epoch, epochs, bounds)) for epoch in (begin, late))
    # The best of the last quarter: single bounds are noisy, and the best model is kept.
    best = float(bounds[epochs >= late].max())
    total, rise = best - first, best - middle
    return (rise / total if total > 0 else float("nan")), rise


def rise_at_end(history: Sequence[Record], warmup: int) -> float | None:
    """The late rise of the held-out bound in nats, if it had not leveled off and the last look was the best; else None.

    Args:
        history: The records of training.
        warmup: The epochs of the warm-up.
    """
    share, rise = late_rise(history, warmup)
    if not share > LEVELED or rise < LEAST_RISE or not history[-1].valid:
        return None
    is_best = history[-1].valid["bound"] == max(record.valid["bound"] for record in history)
    return rise if is_best else None


def kept_record(history: Sequence[Record]) -> Record | None:
    """The record that the kept model is from: that of the best held-out bound, or else the last one.

    Args:
        history: The records of training.
    """
    held_out = [record for record in history if record.valid]
    if held_out:
        return max(held_out, key=lambda record: record.valid["bound"])
    return history[-1] if history else None
