"""Why an operation is not there for a model and its data."""

from reparax.explorer.subject import Subject
from reparax.explorer.things import Things

NEED_DATA = ("map", "color", "row", "place", "nearest", "explain", "blind", "answer", "export")


def reasons_of(subject: Subject, things: Things) -> dict[str, str]:
    """The operations that are not there, each with a sentence.

    Args:
        subject: The model and its data.
        things: Shows examples.
    """
    reasons = {}
    if subject.dataset is None:
        reasons |= dict.fromkeys(NEED_DATA, "no data were named: reparax explore MODEL DATA")
    return reasons
