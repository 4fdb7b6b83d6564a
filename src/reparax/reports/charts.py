"""Charts as SVG: lines, bars, points, heatmaps, histograms. Colors are classes: a page's scheme decides."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from reparax.data import cell_text
from reparax.summary import Column

MINUS = "\u2212"
MOST_ENLARGED = 1.35


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """One element; text and attributes are escaped, ``class_`` is class, ``stroke_width`` is stroke-width."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_written(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(escape(child) for child in children)
    return Markup(f"<{name}{written}>{inside}</{name}>")


def _written(value: str | float) -> str:
    if isinstance(value, str):
        return escape(value)
    return f"{value:.2f}".rstrip("0").rstrip(".")


def joined(parts: list[Markup]) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)


def picture(width: float, height: float, words: str, *children: str, wide: bool = False) -> Markup:
    """A drawing that grows and shrinks with the page.

    Args:
        width: Of its own units.
        height: Likewise.
        words: What is to be seen, for those who do not see it.
        children: Its elements.
        wide: Whether it keeps its width on a narrow screen, and scrolls in its box.
    """
    size = f"max-width:{_written(MOST_ENLARGED * width)}px" + (f";min-width:{_written(width)}px" if wide else "")
    return element(
        "svg", element("title", words), *children, viewBox=f"0 0 {_written(width)} {_written(height)}", role="img",
        style=size, xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip


def label(text: str, x: float, y: float, *, anchor: str = "start", class_: str = "t", full: str = "") -> Markup:
    """Text at a place; ``full`` is shown to who points at it."""
    inside = (text, element("title", full)) if full else (text,)
    return element("text", *inside, x=x, y=y, text_anchor=anchor, class_=class_)


def path(points: list[tuple[float, float]], class_: str) -> Markup:
    """A line through points."""
    return element("path", d="M" + "L".join(f"{_written(x)} {_written(y)}" for x, y in points), class_=class_)


def shortened(text: str, length: int) -> str:
    """A text of at most so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}\u2026"


def number(value: float, digits: int = 3) -> str:
    """A number of about so many digits, with a true minus sign."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinity"
    size = abs(value)
    if size >= 10**digits:
        text = f"{value:,.0f}" if size < 1e9 else f"{value:.{digits - 1}e}"
    else:
        text = f"{value:.{digits}g}"
    return "0" if text in {"-0", "0"} else text.replace("-", MINUS)


def nats(value: float) -> str:
    """A number of nats, two digits after the point."""
    return f"{value:,.2f}".replace("-", MINUS)


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


class Scale(NamedTuple):
    """From values to places on the drawing.

    Attributes:
        low: The value at ``start``.
        high: The value at ``end``.
        start: A place.
        end: A place.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        width = self.high - self.low
        return self.start + (value - self.low) / (width if width else 1.0) * (self.end - self.start)

    def ticks(self, count: int = 4) -> list[float]:
        """Round values between low and high, about so many."""
        width = self.high - self.low
        if not (width > 0 and math.isfinite(width)):
            return [self.low]
        rough = width / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def in_words(column: Column, value: float) -> str:
    """One cell as a reader wants it: measured numbers with four digits, all else as the user would write it."""
    if column.is_category or column.kind == "datetime" or column.step > 0 or value != value:
        text = cell_text(column, value + 0.0)
        return text.replace("-", MINUS, 1) if not column.is_category and text.startswith("-") else text
    return number(value, 4)


Points = list[tuple[float, float]]

WIDTH, HEIGHT = 340.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 54.0, 10.0, 26.0, 34.0
SHOWN_CATEGORIES = 6
CELL = 24.0


def curves(
    train: Points, held_out: Points, kept: float | None, words: str, *, unit: str = "epochs"
) -> tuple[Markup, bool]:
    """Two curves over training, and where the kept model is from.

    Args:
        train: Places and values of the training curve.
        held_out: Likewise of the held-out one; may be empty.
        kept: The place of the kept model.
        words: What is to be seen.
        unit: What places are counted in.

    Returns:
        The picture, and whether values of the first steps lie outside of it.
    """
    values = np.asarray([y for _, y in [*train, *held_out] if np.isfinite(y)])
    low, high = _frame(train, held_out)
    across = Scale(0.0, max(x for x, _ in train), LEFT, WIDTH - RIGHT)
    up = Scale(low, high, HEIGHT - BOTTOM, TOP)
    inner = Scale(0, WIDTH - LEFT - RIGHT, 0, WIDTH - LEFT - RIGHT)
    lines = [
        path([(across(x) - inner(LEFT), up(y) - TOP) for x, y in points if np.isfinite(y)], class_)
        for points, class_ in ((train, "real"), (held_out, "made"))
        if points
    ]
    # An inner drawing cuts off what lies outside the frame.
    drawn = element("svg", *lines, x=LEFT, y=TOP, width=WIDTH - LEFT - RIGHT, height=HEIGHT - TOP - BOTTOM)
    marks = []
    if kept is not None:
        x = across(kept)
        late = x > WIDTH - 70
        marks = [
            element("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="kept"),
            label("kept", x + (-4 if late else 4), HEIGHT - BOTTOM - 5, anchor="end" if late else "start"),
        ]
    keys = [_key("real", "training", LEFT)]
    if held_out:
        keys.append(_key("made", "held out", LEFT + 82))
    frame = joined([_upward(up), _across(across, unit)])
    outside = bool(len(values) and (values.min() < low or values.max() > high))
    return picture(WIDTH, HEIGHT, words, frame, drawn, *marks, *keys), outside


def _frame(train: Points, held_out: Points) -> tuple[float, float]:
    """The range to show: that of the later nine tenths, as the first steps are far off."""
    last = max(x for x, _ in train)
    later = [y for x, y in [*train, *held_out] if np.isfinite(y) and x >= 0.1 * last]
    low, high = min(later, default=0.0), max(later, default=1.0)
    room = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    return low - room, high + room


def _key(class_: str, words: str, x: float) -> Markup:
    line = element("line", x1=x, x2=x + 16, y1=11, y2=11, class_=class_)
    return joined([line, label(words, x + 21, 15, class_="t ink")])


def _upward(up: Scale, left: float = LEFT, right: float = WIDTH - RIGHT) -> Markup:
    parts = []
    for tick in up.ticks(4):
        y = up(tick)
        parts += [
            element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"),
            label(number(tick, 4), left - 6, y + 4, anchor="end"),
        ]
    return joined(parts)


def _across(across: Scale, unit: str, height: float = HEIGHT, bottom: float = BOTTOM) -> Markup:
    parts = [element("line", x1=across.start, x2=across.end, y1=height - bottom, y2=height - bottom, class_="axis")]
    parts += [label(number(tick, 4), across(tick), height - bottom + 14, anchor="middle") for tick in across.ticks(4)]
    return joined([*parts, label(unit, across.end, height - 4, anchor="end")])


def bars(values: Sequence[float], names: Sequence[str], quiet: Sequence[bool], words: str, *, unit: str) -> Markup:
    """Upright bars, one for each name; the quiet ones are gray.

    Args:
        values: Their heights.
        names: What is written below.
        quiet: Which are gray.
        words: What is to be seen.
        unit: What heights are counted in.
    """
    width = max(WIDTH + 180, LEFT + RIGHT + 16.0 * len(values))
    up = Scale(0.0, max(max(values), 1e-6) * 1.05, HEIGHT - BOTTOM, TOP)
    step = (width - LEFT - RIGHT) / len(values)
    thick = min(0.72 * step, 34.0)
    every = max(1, int(np.ceil(24.0 / step)))
    parts = [_upward(up, LEFT, width - RIGHT), label(unit, LEFT, 13)]
    for index, (value, name, gray) in enumerate(zip(values, names, quiet, strict=True)):
        middle = LEFT + (index + 0.5) * step
        y = up(max(value, 0.0))
        height = max(HEIGHT - BOTTOM - y, 0.75)
        tip = element("title", f"{name}: {number(value)}")
        parts.append(
            element(
                "rect", tip, x=middle - thick / 2, y=HEIGHT - BOTTOM - height, width=thick, height=height, rx=1.5,
                class_="calm" if gray else "bar",
            )
        )  # fmt: skip
        if index % every == 0:
            parts.append(label(name, middle, HEIGHT - BOTTOM + 14, anchor="middle"))
    axis = element("line", x1=LEFT, x2=width - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis")
    return picture(width, HEIGHT, words, *parts, axis, wide=len(values) > 32)


def points(places: np.ndarray, codes: str, words: str, *, names: tuple[str, str]) -> Markup:
    """Points in a plane, colored by codes.

    Args:
        places: Shape (n, 2).
        codes: A character for each.
        words: What is to be seen.
        names: Of the axes.
    """
    width, height, margin = 560.0, 420.0, 14.0
    low, high = places.min(axis=0), places.max(axis=0)
    across = Scale(float(low[0]), float(high[0]), margin, width - margin)
    up = Scale(float(low[1]), float(high[1]), height - 30, margin)
    radius = 3.4 if len(places) <= 400 else 2.8 if len(places) <= 1000 else 2.3
    box = element("rect", x=1, y=1, width=width - 2, height=height - 18, rx=6, class_="none")
    dots = [
        element("circle", cx=across(x), cy=up(y), r=radius, class_=f"k{code}")
        for (x, y), code in zip(places.tolist(), codes, strict=True)
    ]
    axes = [
        label(names[0], width - 4, height - 3, anchor="end"),
        label(f"\u2191 {names[1]}", 4, height - 3),
    ]
    axes[0] = label(f"{names[0]} \u2192", width - 4, height - 3, anchor="end")
    return picture(width, height, words, box, *dots, *axes)


def heatmap(matrix: np.ndarray, names: Sequence[str], words: str) -> Markup:
    """A square of cells between 0 (empty) and 1 (full), with names at two sides.

    Args:
        matrix: Shape (d, d); NaN is left blank.
        names: One for each row and column.
        words: What is to be seen.
    """
    count = len(names)
    short = [shortened(name, 16) for name in names]
    side = min(CELL, max(14.0, 300.0 / count)) if count > 8 else min(34.0, 240.0 / count)
    longest = max(len(name) for name in short)
    left, top = 12.0 + 6.6 * longest, 16.0 + 5.0 * longest
    width, height = left + side * count + 4.3 * longest, top + side * count + 4
    parts = []
    for index, (name, full) in enumerate(zip(short, names, strict=True)):
        middle = (index + 0.5) * side
        parts.append(label(name, left - 6, top + middle + 4, anchor="end", full=full))
        turned = f"translate({left + middle + 3:.1f} {top - 6:.1f}) rotate(-45)"
        parts.append(element("text", name, element("title", full), transform=turned, class_="t"))
        for other, value in enumerate(matrix[index]):
            if not np.isfinite(value):
                continue
            tip = element("title", f"{short[index]}, {short[other]}: {value:.2f}")
            parts.append(
                element(
                    "rect", tip, x=left + other * side, y=top + index * side, width=side - 1, height=side - 1, rx=1.5,
                    class_="cell", fill_opacity=0.05 + 0.95 * min(max(float(value), 0.0), 1.0),
                )
            )  # fmt: skip
    return picture(width, height, words, *parts, wide=width > 600)


def histograms(real: np.ndarray, made: np.ndarray, edges: np.ndarray, ends: tuple[str, str], words: str) -> Markup:
    """Shares of real values as an area and of synthetic ones as a line, bin by bin.

    Args:
        real: Shares of the bins.
        made: Likewise.
        edges: The bins' edges.
        ends: What is written below the first and the last edge.
        words: What is to be seen.
    """
    width, height, bottom = 260.0, 132.0, 18.0
    across = Scale(float(edges[0]), float(edges[-1]), 2.0, width - 2.0)
    up = Scale(0.0, float(max(real.max(), made.max(), 1e-9)), height - bottom, 6.0)
    area = [*_steps(real, edges, across, up), (across(edges[-1]), up(0.0)), (across(edges[0]), up(0.0))]
    return picture(
        width, height, words,
        path(area, "area"),
        path(_steps(made, edges, across, up), "made"),
        element("line", x1=2, x2=width - 2, y1=height - bottom, y2=height - bottom, class_="axis"),
        label(ends[0], 2, height - 4), label(ends[1], width - 2, height - 4, anchor="end"),
    )  # fmt: skip


def _steps(shares: np.ndarray, edges: np.ndarray, across: Scale, up: Scale) -> Points:
    found: Points = [(across(edges[0]), up(0.0))]
    for share, start, end in zip(shares.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        found += [(across(start), up(share)), (across(end), up(share))]
    return [*found, (across(edges[-1]), up(0.0))]


def category_bars(
    names: Sequence[str], real: Sequence[float], made: Sequence[float], words: str, *, rest: str = ""
) -> Markup:
    """For each category a bar for its real share and one for its synthetic share.

    Args:
        names: The categories.
        real: Their real shares.
        made: Their synthetic shares.
        words: What is to be seen.
        rest: The name of what stands for all others: it has shares, but no bars.
    """
    width, left = 260.0, 96.0
    line = min(28.0, max(18.0, 128.0 / len(names)))
    thick = 0.36 * line
    height = line * len(names) + 4
    named = [share for name, *pair in zip(names, real, made, strict=True) if name != rest for share in pair]
    along = Scale(0.0, max([*named, 1e-9]), left, width - 56.0)
    parts = []
    for index, (name, here, there) in enumerate(zip(names, real, made, strict=True)):
        y = 3 + index * line
        shares = f"{100 * here:.0f} / {100 * there:.0f} %"
        parts.append(label(shortened(name, 15), left - 6, y + thick + 4, anchor="end", full=name))
        if name == rest:
            parts.append(label(shares, left + 4, y + thick + 4))
            continue
        for place, share, class_ in ((y, here, "bar"), (y + thick + 1, there, "bar2")):
            long = max(along(share) - left, 0.75)
            parts.append(element("rect", x=left, y=place, width=long, height=thick, rx=1, class_=class_))
        parts.append(label(shares, along(max(here, there)) + 4, y + thick + 4))
    return picture(width, height, words, *parts)


def histogram(values: np.ndarray, mark: float | None, words: str, *, unit: str, mark_words: str = "") -> Markup:
    """How values are spread, and a mark among them."""
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, bins=min(50, max(10, len(values) // 8)), range=(low, high or 1.0))
    width = WIDTH + 180
    across = Scale(edges[0], edges[-1], LEFT, width - RIGHT)
    up = Scale(0.0, float(counts.max()) * 1.05, HEIGHT - BOTTOM, TOP)
    parts = [_upward(up, LEFT, width - RIGHT), label("rows", LEFT, 13)]
    for count, start, end in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count:
            y = min(up(count), HEIGHT - BOTTOM - 1.2)
            odd = mark is not None and end > mark
            parts.append(
                element(
                    "rect", x=across(start) + 0.5, y=y, width=max(across(end) - across(start) - 1, 0.8),
                    height=HEIGHT - BOTTOM - y, class_="bar2" if odd else "bar",
                )
            )  # fmt: skip
    if mark is not None:
        x = across(mark)
        late = x > width - 150
        parts += [
            element("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="kept"),
            label(mark_words, x + (0 if late else -5), 15, anchor="end" if late else "start"),
        ]
    return picture(width, HEIGHT, words, *parts, _across(across, unit))
