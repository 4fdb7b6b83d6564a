"""Why an operation is not there for a model and its data."""

from reparax.explorer.subject import Subject
from reparax.explorer.things import Things

NEED_DATA = ("map", "color", "row", "place", "nearest", "explain", "blind", "answer", "export")
NO_DATA = "needs data: reparax explore MODEL DATA"
NO_CELLS = "needs a table with the columns likelihood, which knows missing cells: fit it with --likelihood columns"


def reasons_of(subject: Subject, things: Things) -> dict[str, str]:
    """The operations that are not there, each with what it needs.

    Args:
        subject: The model and its data.
        things: Shows examples.
    """
    reasons: dict[str, str] = {}
    if not things.is_table:
        reasons["whatif"] = NO_CELLS
    if subject.dataset is None:
        reasons |= dict.fromkeys(NEED_DATA, NO_DATA)
    return reasons
