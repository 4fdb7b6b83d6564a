"""The section on relations between columns: what they are, and in how many real and synthetic rows they hold."""

from reparax.data import relation_lines
from reparax.reports.charts import percent, shortened
from reparax.reports.findings import relations_held
from reparax.reports.page import Section, Table, Text
from reparax.reports.study import Study

MAX_LINES = 40


def related(study: Study) -> Section | None:
    """The relations of a table; None where there are none."""
    schema = study.fitted.schema
    lines = relation_lines(schema)
    if not lines:
        return None
    real, synthetic = relations_held(study)
    rows = tuple(
        (shortened(line.text, 160), "stated" if line.stated else "found", percent(of_real), percent(of_synthetic))
        for line, of_real, of_synthetic in zip(lines, real, synthetic, strict=True)
    )
    words = (
        "What follows from other columns is modeled as a remainder, given these columns; pairs of values that never "
        "occur together are not drawn together. Found relations hold in at least 99 % of the rows of the fit, stated "
        "ones in all. They can be stated with --schema, and turned off with --relations none."
    )
    if len(rows) > MAX_LINES:
        words += f" Of {len(rows)} relations, the first {MAX_LINES} are shown."
    header = ("relation", "source", "holds in real rows", "in synthetic rows")
    return Section(
        "related", "Relations between columns", (Text(words), Table(header, rows[:MAX_LINES], frozenset({2, 3})))
    )
