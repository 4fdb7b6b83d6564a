"""The picture of a sweep: each combination's held-out bound, seed by seed."""

from collections.abc import Sequence

from reparax.applications import Standing
from reparax.reports.charts import element, label, picture

LINE = 22.0
TOP, LEFT, RIGHT, WIDTH, BOTTOM = 34.0, 260.0, 40.0, 720.0, 46.0
MOST_LINES = 40
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.axis{stroke:#bbb}.error{stroke:#1f5fa8;stroke-width:2}"
    ".mean{fill:#1f5fa8}.seed{fill:#1f5fa8;fill-opacity:.3}"
)


def leaderboard_picture(leaderboard: Sequence[Standing]) -> str:
    """An SVG: one line for each combination, the best first, with its mean, standard error and seeds.

    Args:
        leaderboard: Combinations that have a bound.
    """
    shown = leaderboard[:MOST_LINES]
    seeds = [[trial.bound for trial in one.trials if trial.bound is not None] for one in shown]
    low, high = min(map(min, seeds)), max(map(max, seeds))
    room = 0.04 * (high - low) or 1.0
    low, high = low - room, high + room

    def across(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    height = TOP + LINE * len(shown) + BOTTOM
    children = [element("style", STYLE), element("rect", width=WIDTH, height=height, fill="#fff")]
    children.append(label("Held-out bound, nats per example: seeds, mean, standard error", 12, 20))
    bottom = TOP + LINE * len(shown)
    for index in range(5):
        value = low + (high - low) * index / 4
        x = across(value)
        children.append(element("line", x1=x, x2=x, y1=TOP, y2=bottom, class_="axis"))
        children.append(label(f"{value:.4g}", x, bottom + 18, anchor="middle"))
    for index, (one, bounds) in enumerate(zip(shown, seeds, strict=True)):
        y = TOP + LINE * (index + 0.5)
        text = ", ".join(f"{name.replace('_', '-')} {value}" for name, value in one.options.items())
        children.append(label(text[:40] or "all", LEFT - 12, y + 4, anchor="end", full=text))
        children += [element("circle", cx=across(bound), cy=y, r=4.0, class_="seed") for bound in bounds]
        assert one.bound is not None
        if one.standard_error is not None:
            ends = (max(low, one.bound - one.standard_error), min(high, one.bound + one.standard_error))
            children.append(element("line", x1=across(ends[0]), x2=across(ends[1]), y1=y, y2=y, class_="error"))
        children.append(element("circle", cx=across(one.bound), cy=y, r=3.5, class_="mean"))
    children.append(label("The held-out rows chose this order: figures at the top are optimistic.", 12, bottom + 38))
    return str(picture(WIDTH, height, "Held-out bounds of a sweep", *children))
