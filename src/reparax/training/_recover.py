"""What is done about steps that are not finite: leave them out, go back at half the rate, or give up."""

import warnings
from dataclasses import replace

from reparax.errors import TrainingError, TrainingWarning
from reparax.training._program import TROUBLES, Carry
from reparax.training._state import TrainState

MOST_SKIPPED = 20
"""So many steps between two looks that are not finite, and training goes back to the first of the looks."""

MOST_RETURNS = 3
"""So many times it goes back at half the rate before it gives up."""

CURES = {
    "objective": "lower the learning rate, or look for extreme values in the data",
    "gradient": "lower the learning rate, or look for a density with an infinite slope",
    "update": "lower the learning rate, or choose another optimizer",
}


def recovered(state: TrainState, after: Carry) -> TrainState:
    """The state from which to go on after steps that were not finite.

    First the steps since the last look are taken again, each one checked. If too many of them are not finite, they are
    taken once more at half the rate; and if that does not help, training ends.

    Args:
        state: The state before the steps.
        after: What the steps made of it.
    """
    if not state.is_careful:
        return replace(state.at_last_look(), is_careful=True)
    trouble = note_of(after)
    if state.returns == MOST_RETURNS:
        return replace(state.at_last_look(), status="diverged", trouble=trouble)
    return replace(state.at_last_look(), returns=state.returns + 1, trouble=trouble)


def note_of(carry: Carry) -> str:
    """The first step since the last look that was not finite, in words."""
    step, what = (int(number) for number in carry.trouble)
    return f"{TROUBLES[what]} of step {step + 1}"


def tell(state: TrainState) -> None:
    """Says what was done about steps that were not finite.

    Raises:
        TrainingError: No step could be taken, or none after which the model could be kept.

    Warns:
        TrainingWarning: Steps were left out, or training went on at a lower rate or ended.
    """
    cure = CURES[state.trouble.split()[0]] if state.trouble else ""
    skipped = sum(record.skipped for record in state.history)
    if state.status == "diverged":
        if state.best.step == 0:
            raise TrainingError(
                expected="finite steps of training",
                got=f"none that could be kept: the {state.trouble} is not finite, at {state.rate:g} of the rate too",
                cure=cure,
            )
        warnings.warn(
            f"training diverged: the {state.trouble} is not finite, at {state.rate:g} of the learning rate too; the "
            f"model of step {state.best.step} is kept; {cure}",
            TrainingWarning,
            stacklevel=4,
        )
    elif state.returns or skipped:
        lower = f"; training went on at {state.rate:g} of the learning rate" if state.returns else ""
        steps = f"{skipped} of {state.step} steps were not finite and were left out"
        warnings.warn(f"{steps}{lower} (last: the {state.trouble}); {cure}", TrainingWarning, stacklevel=4)
