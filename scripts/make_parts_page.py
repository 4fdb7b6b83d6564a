"""Writes docs/parts.md, the table of all parts, from the classes themselves."""

import html
import importlib.util
import inspect
import re
from functools import cache
from pathlib import Path
from types import ModuleType

from reparax import registry

PAGE = Path(__file__).resolve().parents[1] / "docs" / "parts.md"

ROOMS = {
    "posteriors": ("Posteriors", "The encoder, q(z | x): `--posterior`"),
    "priors": ("Priors", "The prior, p(z): `--prior`"),
    "likelihoods": ("Likelihoods", "The decoder, p(x | z): `--likelihood`"),
    "objectives": ("Objectives", "What training maximizes: `--objective`"),
    "networks": ("Networks", "The networks of encoder and decoder: `--network`"),
    "estimators": ("Gradient estimators", "How the gradient of `E_q[f(z)]` is estimated: `estimator=`"),
}


def sentence(part: type) -> str:
    """The first paragraph of a part's docstring, on one line, fit for a table: formulas become code."""
    text = " ".join((inspect.getdoc(part) or "").split("\n\n")[0].split())
    return re.sub(r"``(.+?)``|`([^`]+)`", lambda found: code(found[1] or found[2]), markdown().prose(text, {}))


def code(text: str) -> str:
    """Code in a cell of a table: of a bar between backticks, GitHub and the site make different things."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


@cache
def markdown() -> ModuleType:
    """The file beside this one that makes Markdown of docstrings."""
    place = Path(__file__).with_name("docstring_markdown.py")
    spec = importlib.util.spec_from_file_location("docstring_markdown", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def spaces(part: type) -> str:
    """Where z lives, for posteriors and priors."""
    if hasattr(part, "latent_space"):
        return part.latent_space
    return ", ".join(sorted(getattr(part, "latent_spaces", ())))


def options(room: str, name: str) -> str:
    """The options of a part with their defaults."""
    return ", ".join(f"`{option.name}={option.default!r}`" for option in registry.options(room, name))


def page() -> str:
    """The whole page."""
    lines = [
        "# The parts",
        "",
        "Every part by its name, made from the classes by `make docs`. A posterior goes with any prior on the same",
        "latent space, any likelihood that fits the data, any objective and any network (the deterministic posterior",
        "only with the reconstruction objective). Give options with the name:",
        "",
        "```",
        "reparax fit data.npy --out model --prior normal-mixture --prior.num-components 6",
        "```",
        "",
        "In Python this is `prior=reparax.priors.NormalMixture(num_components=6)`, or",
        "`prior={'name': 'normal-mixture', 'num_components': 6}`. [Parts that you write](adding-a-part.md) are chosen",
        "as `my_parts:MyPosterior`.",
    ]
    for room, (title, what) in ROOMS.items():
        with_spaces = room in ("posteriors", "priors")
        lines += ["", f"## {title}", "", f"{what}.", ""]
        names = registry.names(room)
        with_options = any(options(room, name) for name in names)
        titles = ["name", *(["latent space"] if with_spaces else []), "what", *(["options"] if with_options else [])]
        lines += [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
        for name in names:
            part = registry.load(room, name)
            cells = [f"`{name}`", *([spaces(part)] if with_spaces else []), sentence(part)]
            cells += [options(room, name)] if with_options else []
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
