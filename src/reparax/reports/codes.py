"""The section on the codes of a codebook: how many of them are used."""

from reparax.reports.charts import bars, number
from reparax.reports.page import Beside, Block, Figure, Figures, Section, Table, Text
from reparax.reports.study import Study

MAX_LINES = 64


def codes(study: Study) -> Section | None:
    """The perplexity of each index and its dead codes; None for other latent variables."""
    use = study.code_use
    if use is None:
        return None
    count, values = len(use.perplexity), use.perplexity.tolist()
    words = (
        f"A code has {count} {'index' if count == 1 else 'indices'} of {use.num_codes:,} values each. The perplexity "
        f"is exp of the entropy of how often the values occur in {len(study.mapped):,} {study.rows_word()}: "
        f"{use.num_codes:,} if all occur equally often, 1 if only one does."
    )
    if use.num_stages > 1:
        words += f" Each position has {use.num_stages} stages, numbered after the point, the coarsest first."
    dead, total = int(use.dead.sum()), count * use.num_codes
    of_dead = "No value is dead: each occurs at each index."
    if dead:
        of_dead = f"{dead:,} of {total:,} values are dead: no {study.rows_word(1)} has them. Each index has its count."
    beside: list[Block] = [Text(words), Text(of_dead)]
    evaluation = study.evaluation
    if evaluation.kl is not None:
        total = f"The total KL of {study.evaluated_words} is {number(evaluation.kl)} nats per {study.rows_word(1)}."
        beside.append(Text(total, "small"))
    alt = f"perplexity of each index: {', '.join(map(number, values[:8]))}"
    chart = bars(values[:MAX_LINES], list(use.names)[:MAX_LINES], [False] * min(count, MAX_LINES), alt, unit="codes")
    rows = tuple(
        (name, number(perplexity), f"{empty:,} of {use.num_codes:,}", number(nats))
        for name, perplexity, empty, nats in zip(
            use.names, values, use.dead.tolist(), use.information.tolist(), strict=True
        )
    )
    header = ("position", "perplexity", "dead codes", "information on x, nats")
    shown = f"The first {MAX_LINES} of {count} are shown." if count > MAX_LINES else ""
    figures = Figures((Figure(chart, "Perplexity of each index", shown),), "large")
    table = Table(header, rows[:MAX_LINES], frozenset({1, 2, 3}))
    return Section("codes", "Use of the codes", (Beside(figures, tuple(beside)), table))
