"""The section on privacy: what synthetic rows and bounds give away of the rows of the fit."""

from reparax.applications import Measured
from reparax.reports.charts import number, percent
from reparax.reports.page import Block, Section, Table, Text
from reparax.reports.study import Study


def secrecy(study: Study) -> Section:
    """Copies, distances to the closest rows and the membership attack, each beside held-out rows."""
    found, rows = study.privacy, study.rows_word()
    if found is None:
        why, cure = study.without_privacy
        words = f"Whether the model gives away the {rows} it was fitted to is not measured: {why}. {cure}"
        return Section("privacy", "Privacy", (Text(words),))
    words = (
        f"{found.num_synthetic:,} synthetic {rows} and {found.num_held_out:,} held-out ones, each compared with "
        f"{found.num_fitted:,} {rows} of the fit. The held-out {rows} are of the same source and the model has not "
        "seen them: what is as true of them gives nothing away."
    )
    measure = (
        "numbers count by the fraction of rows between two of them, categories by 0 or 1"
        if study.is_table
        else "Euclidean"
    )
    lines = (
        ("equal to one of the fit", percent(found.copies), percent(found.held_out_copies)),
        (f"median distance to the closest {study.rows_word(1)} of the fit ({measure})", number(found.distance),
         number(found.held_out_distance)),
    )  # fmt: skip
    attacks = (
        ("nearer to one of the fit than to a held-out one", *_interval(found.nearer)),
        ("bound higher for one of the fit than for a held-out one", *_interval(found.membership)),
    )
    blocks: tuple[Block, ...] = (
        Text(words),
        Table(("", "synthetic", "held out"), lines, frozenset({1, 2})),
        Table(
            ("probability; 0.5 gives nothing away, 1 everything", "estimate", "95 % interval"),
            attacks,
            frozenset({1, 2}),
        ),
        Text(
            f"For the nearest {rows}, each held-out one counts as often as there are more of the fit. These are "
            f"measures, not guarantees: that nothing is found is no proof that no "
            f"{study.rows_word(1)} is given away.",
            "small",
        ),
    )
    return Section("privacy", "Privacy", blocks)


def _interval(measured: Measured) -> tuple[str, str]:
    return f"{measured.value:.3f}", f"{measured.low:.3f} to {measured.high:.3f}"
