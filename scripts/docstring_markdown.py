"""Docstrings as Markdown: LaTeX as MathML, formulas in plain letters as code, names as links, the rest unchanged.

Formulas in docstrings are written to be read in an editor: ``E_q[log p(x | z)] - KL(q || p)``. Markdown would take
their signs for its own.
"""

import html
import re
from collections.abc import Iterator, Mapping

SPANS = re.compile(
    r"(\$\$.+?\$\$|\$[^$\s][^$\n]*\$|``.+?``|`[^`\n]+`|(?<![\w*])\*[A-Za-z][\w ,.-]*?[\w.]\*(?![\w*]))", re.DOTALL
)
"""What is marked in a docstring: LaTeX between dollars, code, a name between single backticks, words to be stressed."""

MEANS_SOMETHING = re.compile(r"[*_~^\[\]<>=$\\|/()#+-]")
"""Signs that Markdown or one of its extensions might take for its own."""

OPERATORS = frozenset(["+", "-", "*", "/", "**", "^", "=", "!=", "<", ">", "<=", ">=", "|", "||", "~", "->"])
FUNCTIONS = frozenset(["log", "exp", "sum", "prod", "max", "min", "mean", "argmin", "argmax", "sigmoid", "softmax"])
"""Words that belong to a formula if one follows."""
LETTERS = frozenset(
    [
        "alpha",
        "beta",
        "delta",
        "gamma",
        "eps",
        "eta",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "phi",
        "pi",
        "psi",
        "sigma",
        "theta",
    ]
)
ARTICLES = frozenset(["A", "I", "the", "an", "all", "each"])

APPLIED = re.compile(
    r"\w['~]?\((?!s\))\S|\w\[\S|\S\^\S|\w_[\w{(]|\w\*\*\w|\w=\w|^\(?[\d.]+/\w|^\[[\w.-]+[,\]]|^\|\w+\|$"
)
"""A function of something, an index, a power, a fraction, an interval: what makes a formula of a word."""
WORD = re.compile(r"-?[\w.]+['~]?$")

ELLIPSIS = "..."
LONGEST = 16
"""Words between two brackets of a formula, at most."""


def markdown(text: str, links: Mapping[str, str]) -> str:
    """A docstring, or a part of one.

    Args:
        text: The docstring.
        links: Where the names between single backticks are explained.
    """
    blocks = re.split(r"(\n[ \t]*\n)", text.replace("::\n\n", ":\n\n"))
    return "".join(
        block if re.match(r"(\s*$| {4}|\t|- |\d+\. |>>>)", block) else prose(block, links) for block in blocks
    )


def prose(text: str, links: Mapping[str, str]) -> str:
    """A paragraph."""
    return "".join(_span(span, links) if SPANS.fullmatch(span) else _plain(span) for span in SPANS.split(text))


def _span(span: str, links: Mapping[str, str]) -> str:
    if span.startswith("$"):
        return _mathml(span)
    if span.startswith(("``", "*")):
        return span
    target = links.get(span.strip("`"))
    return span if target is None else f"[{span}][{target}]"


def _mathml(span: str) -> str:
    from latex2mathml.converter import convert

    display = span.startswith("$$")
    converted = convert(span.strip("$").strip(), display="block" if display else "inline")
    # Signs between the tags are text, and Markdown would read them.
    quiet = re.sub(r">([^<]+)<", lambda found: f">{_quiet(html.unescape(found[1]))}<", converted)
    return f"\n\n{quiet}\n\n" if display else quiet


def _quiet(text: str) -> str:
    """Text whose signs mean nothing to Markdown."""
    return MEANS_SOMETHING.sub(lambda sign: f"&#{ord(sign[0])};", text.replace("&", "&amp;"))


def _plain(text: str) -> str:
    """Text without marks: what looks like a formula becomes code."""
    pieces = re.split(r"(\s+)", text)
    words, spaces = pieces[::2], [*pieces[1::2], ""]
    result, start = [], 0
    for first, last in _formulas(words):
        result += [_quiet(word) + space for word, space in zip(words[start:first], spaces[start:first], strict=True)]
        code, tail = _without_tail(" ".join(words[first : last + 1]))
        result.append(f"`{code}`{_quiet(tail)}{spaces[last]}")
        start = last + 1
    rest = zip(words[start:], spaces[start:], strict=True)
    return "".join([*result, *(_quiet(word) + space for word, space in rest)])


def _formulas(words: list[str]) -> Iterator[tuple[int, int]]:
    """The first and last word of each formula."""
    position = 0
    while position < len(words):
        last = _end(words, position)
        if last is None:
            position += 1
        else:
            yield position, last
            position = last + 1


def _end(words: list[str], first: int) -> int | None:
    """The last word of a formula that starts at a word; None where none does."""
    last, position, after_operator = None, first, False
    while position < len(words):
        if words[position] in OPERATORS and position > first:
            after_operator, position = True, position + 1
            continue
        end = _operand(words, position, after_operator=after_operator, at_start=position == first)
        if end is None:
            break
        core, tail = (ELLIPSIS, "") if words[end] == ELLIPSIS else _without_tail(" ".join(words[position : end + 1]))
        proven = after_operator or (last is not None and core in LETTERS)
        if APPLIED.search(core) or (proven and core not in FUNCTIONS):
            last = end
        if tail:
            break
        after_operator, position = False, end + 1
    return last


def _operand(words: list[str], position: int, *, after_operator: bool, at_start: bool) -> int | None:
    """The last word of an operand that starts at a word; None where none does."""
    word, following = words[position], "".join(words[position + 1 : position + 2])
    if word == ELLIPSIS:
        return position if after_operator else None
    core, _ = _without_tail(word)
    if core in ARTICLES:
        return None
    if APPLIED.search(core):
        return _closed(words, position)
    if word.startswith(("(", "-(")):
        last = _closed(words, position)
        return last if last is not None and OPERATORS & {*words[position:last]} else None
    if (len(core) == 1 and core.isalpha()) or core in FUNCTIONS | LETTERS or core.isdecimal():
        return position
    joined = after_operator or following in (OPERATORS - {"-", "|"} if at_start else OPERATORS)
    return position if joined and WORD.match(core) else None


def _closed(words: list[str], first: int) -> int | None:
    """The word in which the brackets that are opened in a word are closed; None where they never are."""
    for last in range(first, min(first + LONGEST, len(words))):
        text = " ".join(words[first : last + 1])
        if all(text.count(start) <= text.count(end) for start, end in ("()", "[]", "{}")):
            return last
    return None


def _without_tail(word: str) -> tuple[str, str]:
    """A word, or a formula, and the punctuation behind it; a bracket that is not opened in it is punctuation."""
    core = word.rstrip(".,;:")
    while core and core[-1] in ")]" and core.count(core[-1]) > core.count("(" if core[-1] == ")" else "["):
        core = core[:-1].rstrip(".,;:")
    return core, word[len(core) :]
