"""Drawing: elements of SVG as escaped text, scales and ticks. Colors are classes, so that a page's scheme decides."""

import math
from typing import NamedTuple

from markupsafe import Markup, escape

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
