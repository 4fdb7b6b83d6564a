"""Text that was meant to be something else: numbers with separators or signs, dates of several formats, slips."""

import re

import numpy as np

from reparax.data._cells import Cells
from reparax.data._dates import any_date
from reparax.errors import DataError

EXAMINED = 1000
MOST = 0.9
FEWEST_NUMBERS = 10
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_GROUPED = re.compile(r"[+-]?\d{1,3}((,\d{3})+(\.\d+)?|(\.\d{3})+(,\d+)?|([ '\u00a0]\d{3})+([.,]\d+)?)")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_SIGNED = re.compile(r"([$€£¥]\s*[+-]?[\d.,]+|[+-]?[\d.,]+\s*[%$€£¥])")


def refuse_separators(name: str, cells: Cells) -> None:
    """Raises `DataError` for text that is numbers with thousands separators or decimal commas throughout.

    Raises:
        DataError: It is.
    """
    texts = _examined(cells)
    grouped = [code for code, text in enumerate(texts) if _GROUPED.fullmatch(text) or _COMMA.fullmatch(text)]
    if not grouped or len(grouped) + sum(bool(_PLAIN.fullmatch(text)) for text in texts) < len(texts):
        return
    row = int(np.argmax(np.isin(cells.values, grouped)))
    raise DataError(
        expected=f"numbers in column {name!r}, such as 1234.5",
        got=f"{texts[int(cells.values[row])]!r} in row {row + 1}: thousands separators or decimal commas",
        cure="write them without (tables with decimal commas need ; between the cells), or call the column categorical",
    )


def hint_on(cells: Cells) -> str | None:
    """A sentence on text that was probably meant to be numbers or dates."""
    texts = _examined(cells)
    if not texts:
        return None
    if sum(bool(_SIGNED.fullmatch(text)) for text in texts) >= MOST * len(texts):
        return f"text such as {texts[0]!r}; without the sign it would be a number"
    plain = [bool(_PLAIN.fullmatch(text)) for text in texts]
    if sum(plain) >= max(FEWEST_NUMBERS, MOST * len(texts)):
        other = next(text for text, number in zip(texts, plain, strict=True) if not number)
        return f"text, for it holds {other!r} among numbers; leave such cells empty to have numbers"
    if len(texts) > 1 and all(any_date(text) for text in texts[:20]):
        other = next((text for text in texts if _shape(text) != _shape(texts[0])), texts[-1])
        return f"text, for its dates have several formats ({texts[0]}, {other}); write all like 2024-01-31"
    return None


def _shape(text: str) -> str:
    return re.sub(r"\d", "0", text)


def _examined(cells: Cells) -> list[str]:
    return [str(category).strip() for category in cells.categories[:EXAMINED]]
