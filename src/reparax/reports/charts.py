"""Charts as SVG: lines, bars, points, heatmaps, histograms. Colors are classes of the style sheet of the page."""

import math
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from reparax.data import cell_text
from reparax.summary import Column

MINUS = "\u2212"
MAX_ENLARGED = 1.35


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """An element with its text and attributes escaped; ``class_`` is class, ``stroke_width`` is stroke-width."""
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_formatted(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    content = "".join(escape(child) for child in children)
    return Markup(f"<{name}{pairs}>{content}</{name}>")


def _formatted(value: str | float) -> str:
    if isinstance(value, str):
        return escape(value)
    return f"{value:.2f}".rstrip("0").rstrip(".")


def joined(parts: list[Markup]) -> Markup:
    """Elements, one after the other."""
    return Markup("").join(parts)


def picture(width: float, height: float, alt: str, *children: str, wide: bool = False) -> Markup:
    """A drawing that scales with the page.

    Args:
        width: The width in drawing units.
        height: The height in drawing units.
        alt: What it shows, for readers who cannot see it.
        children: Its elements.
        wide: Whether it keeps its width on a narrow screen, and scrolls.
    """
    size = f"max-width:{_formatted(MAX_ENLARGED * width)}px" + (f";min-width:{_formatted(width)}px" if wide else "")
    return element(
        "svg", element("title", alt), *children, viewBox=f"0 0 {_formatted(width)} {_formatted(height)}", role="img",
        style=size, xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip


def label(text: str, x: float, y: float, *, anchor: str = "start", class_: str = "t", full: str = "") -> Markup:
    """Text at a place; ``full`` appears when the pointer is over it."""
    content = (text, element("title", full)) if full else (text,)
    return element("text", *content, x=x, y=y, text_anchor=anchor, class_=class_)


def path(points: list[tuple[float, float]], class_: str) -> Markup:
    """A line through points."""
    return element("path", d="M" + "L".join(f"{_formatted(x)} {_formatted(y)}" for x, y in points), class_=class_)


ELLIPSIS = "\u2026"


def shortened(text: str, length: int) -> str:
    """A text cut to a number of characters."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}{ELLIPSIS}"


FONT = 11.0
"""The size of the text in charts, in pixels."""


def ems(text: str) -> float:
    """About how wide a text is, in sizes of its font; letters of East Asian scripts are twice as wide as Latin ones."""
    return sum(map(_em, text))


def _em(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in {"W", "F"}:
        return 1.1
    if character in " .,:;|!'ijltfI":
        return 0.36
    if character in "WM@%mw":
        return 1.0
    return 0.77 if character.isupper() else 0.63


def narrowed(text: str, room: float) -> str:
    """A text cut to a width in pixels."""
    text = " ".join(text.split())
    if FONT * ems(text) <= room:
        return text
    kept = next(end for end in range(len(text), -1, -1) if FONT * ems(text[:end] + ELLIPSIS) <= room or end == 0)
    return f"{text[:kept].rstrip()}{ELLIPSIS}"


def number(value: float, digits: int = 3) -> str:
    """A number rounded to about so many digits, with a true minus sign."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinity"
    size = abs(value)
    if size >= 10**digits:
        text = f"{value:,.0f}" if size < 1e9 else f"{value:.{digits - 1}e}"
    else:
        text = f"{value:.{digits}g}"
    return "0" if text in {"-0", "0"} else text.replace("-", MINUS)


def nats(value: float) -> str:
    """A number of nats with two decimal places; never minus zero."""
    return f"{round(value, 2) + 0.0:,.2f}".replace("-", MINUS)


def percent(fraction: float) -> str:
    """A fraction in percent."""
    return f"{100 * fraction:.1f} %" if fraction < 0.0995 else f"{100 * fraction:.0f} %"


class Scale(NamedTuple):
    """A linear map from values to positions in the drawing.

    Attributes:
        low: The value at ``start``.
        high: The value at ``end``.
        start: A position.
        end: Another position.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The position of a value."""
        width = self.high - self.low
        return self.start + (value - self.low) / (width if width else 1.0) * (self.end - self.start)

    def ticks(self, count: int = 4) -> list[float]:
        """About ``count`` round values between low and high."""
        width = self.high - self.low
        if not (width > 0 and math.isfinite(width)):
            return [self.low]
        rough = width / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def labeled_ticks(self, count: int = 4) -> list[tuple[float, str]]:
        """The ticks with as many digits, four or more, as they need to differ."""
        ticks = self.ticks(count)
        for digits in range(4, 12):
            texts = [number(tick, digits) for tick in ticks]
            if len(set(texts)) == len(texts):
                break
        return list(zip(ticks, texts, strict=True))


def in_words(column: Column, value: float) -> str:
    """A cell for display: measured numbers with four digits, everything else as the user would write it."""
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
    train: Points, held_out: Points, kept: float | None, alt: str, *, unit: str = "epochs"
) -> tuple[Markup, bool]:
    """The training curve and the held-out curve, with a mark where the kept model is from.

    Args:
        train: Epochs and values of the training curve.
        held_out: The same of the held-out curve; may be empty.
        kept: The epoch of the kept model.
        alt: What the chart shows.
        unit: The unit of the horizontal axis.

    Returns:
        The chart, and whether values of the first steps lie outside of it.
    """
    values = np.asarray([y for _, y in [*train, *held_out] if np.isfinite(y)])
    low, high = _frame(train, held_out)
    across = Scale(0.0, max(x for x, _ in train), LEFT, WIDTH - RIGHT)
    up = Scale(low, high, HEIGHT - BOTTOM, TOP)
    lines = [
        path([(across(x) - LEFT, up(y) - TOP) for x, y in points if np.isfinite(y)], class_)
        for points, class_ in ((train, "real"), (held_out, "made"))
        if len(points) > 1
    ]
    # The nested SVG clips what lies outside the frame.
    clipped = element("svg", *lines, x=LEFT, y=TOP, width=WIDTH - LEFT - RIGHT, height=HEIGHT - TOP - BOTTOM)
    marks = [
        element("circle", cx=across(points[0][0]), cy=up(points[0][1]), r=3, class_=class_)  # a line would not be seen
        for points, class_ in ((train, "real"), (held_out, "made"))
        if len(points) == 1
    ]
    if kept is not None:
        x = across(kept)
        late = x > WIDTH - 70
        marks += [
            element("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="kept"),
            label("kept", x + (-4 if late else 4), HEIGHT - BOTTOM - 5, anchor="end" if late else "start"),
        ]
    keys = [_key("real", "training", LEFT)]
    if held_out:
        keys.append(_key("made", "held out", LEFT + 82))
    frame = joined([_upward(up), _across(across, unit)])
    outside = bool(len(values) and (values.min() < low or values.max() > high))
    return picture(WIDTH, HEIGHT, alt, frame, clipped, *marks, *keys), outside


def _frame(train: Points, held_out: Points) -> tuple[float, float]:
    """The range to show: that of the last nine tenths of training, as the first steps are far off."""
    last = max(x for x, _ in train)
    later = [y for x, y in [*train, *held_out] if np.isfinite(y) and x >= 0.1 * last]
    low, high = min(later, default=0.0), max(later, default=1.0)
    # Differences that rounding makes are not to fill the frame.
    room = max(0.05 * (high - low), 1e-5 * max(abs(low), abs(high))) if high > low else 0.05 * abs(high) or 1.0
    return low - room, high + room


def _key(class_: str, text: str, x: float) -> Markup:
    line = element("line", x1=x, x2=x + 16, y1=11, y2=11, class_=class_)
    return joined([line, label(text, x + 21, 15, class_="t ink")])


def _upward(up: Scale, left: float = LEFT, right: float = WIDTH - RIGHT) -> Markup:
    parts = []
    for tick, text in up.labeled_ticks():
        y = up(tick)
        parts += [
            element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"),
            label(text, left - 6, y + 4, anchor="end"),
        ]
    return joined(parts)


def _across(across: Scale, unit: str, height: float = HEIGHT, bottom: float = BOTTOM) -> Markup:
    parts = [element("line", x1=across.start, x2=across.end, y1=height - bottom, y2=height - bottom, class_="axis")]
    parts += [label(text, across(tick), height - bottom + 14, anchor="middle") for tick, text in across.labeled_ticks()]
    return joined([*parts, label(unit, across.end, height - 4, anchor="end")])


def bars(values: Sequence[float], names: Sequence[str], is_gray: Sequence[bool], alt: str, *, unit: str) -> Markup:
    """Vertical bars, one for each name.

    Args:
        values: Their heights.
        names: Their labels.
        is_gray: Which of them are gray.
        alt: What the chart shows.
        unit: The unit of the heights.
    """
    width = max(WIDTH + 180, LEFT + RIGHT + 16.0 * len(values))
    up = Scale(0.0, max(max(values), 1e-6) * 1.05, HEIGHT - BOTTOM, TOP)
    step = (width - LEFT - RIGHT) / len(values)
    thick = min(0.72 * step, 34.0)
    every = max(1, int(np.ceil(24.0 / step)))
    parts = [_upward(up, LEFT, width - RIGHT), label(unit, LEFT, 13)]
    for index, (value, name, gray) in enumerate(zip(values, names, is_gray, strict=True)):
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
    return picture(width, HEIGHT, alt, *parts, axis, wide=len(values) > 32)


def points(places: np.ndarray, codes: str, alt: str, *, names: tuple[str, str]) -> Markup:
    """Points in a plane, colored by codes.

    Args:
        places: Coordinates, shape (n, 2).
        codes: One character for each point.
        alt: What the chart shows.
        names: The names of the axes.
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
        label(f"{names[0]} \u2192", width - 4, height - 3, anchor="end"),
        label(f"\u2191 {names[1]}", 4, height - 3),
    ]
    return picture(width, height, alt, box, *dots, *axes)


STRONGEST_DIFFERENCE = 0.3
"""A difference between associations that is drawn in full color: a medium correlation (Cohen 1988)."""


def heatmap(matrix: np.ndarray, names: Sequence[str], alt: str) -> Markup:
    """A square of cells between 0 (pale) and 1 (saturated), with names on two sides.

    Args:
        matrix: Shape (d, d); NaN is left blank.
        names: One for each row and column.
        alt: What the chart shows.
    """
    return _square(np.asarray(matrix), 0.05 + 0.95 * np.clip(matrix, 0, 1), names, alt)


def differences(matrix: np.ndarray, names: Sequence[str], alt: str) -> Markup:
    """A square of cells: blue above 0, orange below, the stronger the farther from 0.

    Args:
        matrix: Shape (d, d), between -1 and 1; NaN is left blank.
        names: One for each row and column.
        alt: What the chart shows.
    """
    return _square(np.asarray(matrix), np.clip(np.abs(matrix) / STRONGEST_DIFFERENCE, 0.03, 1), names, alt)


def _square(matrix: np.ndarray, opacities: np.ndarray, names: Sequence[str], alt: str) -> Markup:
    count = len(names)
    short = [shortened(name, 16) for name in names]
    side = min(CELL, max(14.0, 300.0 / count)) if count > 8 else min(34.0, 240.0 / count)
    longest = FONT * max(map(ems, short))
    left, top = 12.0 + longest, 16.0 + 0.75 * longest
    width, height = left + side * count + 0.65 * longest, top + side * count + 4
    parts = []
    for index, (name, full) in enumerate(zip(short, names, strict=True)):
        middle = (index + 0.5) * side
        parts.append(label(name, left - 6, top + middle + 4, anchor="end", full=full))
        turned = f"translate({left + middle + 3:.1f} {top - 6:.1f}) rotate(-45)"
        parts.append(element("text", name, element("title", full), transform=turned, class_="t"))
        for other, value in enumerate(matrix[index]):
            if not np.isfinite(value):
                continue
            tip = element("title", f"{short[index]}, {short[other]}: {nats(float(value))}")
            parts.append(
                element(
                    "rect", tip, x=left + other * side, y=top + index * side, width=side - 1, height=side - 1, rx=1.5,
                    class_="cell" if value >= 0 else "cell2", fill_opacity=float(opacities[index, other]),
                )
            )  # fmt: skip
    return picture(width, height, alt, *parts, wide=width > 600)


def histograms(real: np.ndarray, synthetic: np.ndarray, edges: np.ndarray, ends: tuple[str, str], alt: str) -> Markup:
    """Histograms of real values as an area and of synthetic ones as a line.

    Args:
        real: The fraction of real values in each bin.
        synthetic: The fraction of synthetic values in each bin.
        edges: The edges of the bins.
        ends: The labels of the first and the last edge.
        alt: What the chart shows.
    """
    width, height, bottom = 260.0, 132.0, 18.0
    across = Scale(float(edges[0]), float(edges[-1]), 2.0, width - 2.0)
    up = Scale(0.0, float(max(real.max(), synthetic.max(), 1e-9)), height - bottom, 6.0)
    room = width - 4.0
    if FONT * sum(map(ems, ends)) > room - FONT:
        ends = narrowed(ends[0], room / 2 - FONT), narrowed(ends[1], room / 2 - FONT)
    area = [*_steps(real, edges, across, up), (across(edges[-1]), up(0.0)), (across(edges[0]), up(0.0))]
    return picture(
        width, height, alt,
        path(area, "area"),
        path(_steps(synthetic, edges, across, up), "made"),
        element("line", x1=2, x2=width - 2, y1=height - bottom, y2=height - bottom, class_="axis"),
        label(ends[0], 2, height - 4), label(ends[1], width - 2, height - 4, anchor="end"),
    )  # fmt: skip


def _steps(fractions: np.ndarray, edges: np.ndarray, across: Scale, up: Scale) -> Points:
    outline: Points = [(across(edges[0]), up(0.0))]
    for fraction, start, end in zip(fractions.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        outline += [(across(start), up(fraction)), (across(end), up(fraction))]
    return [*outline, (across(edges[-1]), up(0.0))]


def category_bars(
    names: Sequence[str], real: Sequence[float], synthetic: Sequence[float], alt: str, *, rest: str = ""
) -> Markup:
    """Two bars for each category: its frequency in the real data, and in the synthetic data.

    Args:
        names: The categories.
        real: Their frequencies in the real data.
        synthetic: Their frequencies in the synthetic data.
        alt: What the chart shows.
        rest: The name that stands for all other categories; it gets numbers but no bars.
    """
    width, left = 260.0, 96.0
    line = min(28.0, max(18.0, 128.0 / len(names)))
    thick = 0.36 * line
    height = line * len(names) + 4
    shown = [value for name, *pair in zip(names, real, synthetic, strict=True) if name != rest for value in pair]
    along = Scale(0.0, max([*shown, 1e-9]), left, width - 56.0)
    parts = []
    for index, (name, *pair) in enumerate(zip(names, real, synthetic, strict=True)):
        y = 3 + index * line
        percentages = f"{100 * pair[0]:.0f} / {100 * pair[1]:.0f} %"
        parts.append(label(narrowed(name, left - 6), left - 6, y + thick + 4, anchor="end", full=name))
        if name == rest:
            parts.append(label(percentages, left + 4, y + thick + 4))
            continue
        for top, value, class_ in zip((y, y + thick + 1), pair, ("bar", "bar2"), strict=True):
            length = max(along(value) - left, 0.75)
            parts.append(element("rect", x=left, y=top, width=length, height=thick, rx=1, class_=class_))
        parts.append(label(percentages, along(max(pair)) + 4, y + thick + 4))
    return picture(width, height, alt, *parts)


def histogram(values: np.ndarray, mark: float | None, alt: str, *, unit: str, mark_label: str = "") -> Markup:
    """A histogram of values; bins above the mark have another color."""
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, bins=min(50, max(10, len(values) // 8)), range=(low, high or 1.0))
    width = WIDTH + 180
    across = Scale(edges[0], edges[-1], LEFT, width - RIGHT)
    up = Scale(0.0, float(counts.max()) * 1.05, HEIGHT - BOTTOM, TOP)
    parts = [_upward(up, LEFT, width - RIGHT), label("rows", LEFT, 13)]
    for count, start, end in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count:
            y = min(up(count), HEIGHT - BOTTOM - 1.2)
            above = mark is not None and end > mark
            parts.append(
                element(
                    "rect", x=across(start) + 0.5, y=y, width=max(across(end) - across(start) - 1, 0.8),
                    height=HEIGHT - BOTTOM - y, class_="bar2" if above else "bar",
                )
            )  # fmt: skip
    if mark is not None:
        x = across(mark)
        late = x > width - 150
        parts += [
            element("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="kept"),
            label(mark_label, x + (0 if late else -5), 15, anchor="end" if late else "start"),
        ]
    return picture(width, HEIGHT, alt, *parts, _across(across, unit))
