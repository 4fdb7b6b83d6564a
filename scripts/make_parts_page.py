"""Writes docs/parts.md, the table of all parts, from the classes themselves."""

import inspect
from pathlib import Path

from reparax import registry

PAGE = Path(__file__).resolve().parents[1] / "docs" / "parts.md"

ROOMS = {
    "posteriors": ("Posteriors", "The encoder q(z | x), `--posterior`"),
    "priors": ("Priors", "The prior p(z), `--prior`"),
    "likelihoods": ("Likelihoods", "The decoder p(x | z), `--likelihood`"),
    "objectives": ("Objectives", "What training maximizes, `--objective`"),
    "networks": ("Networks", "The networks of encoder and decoder, `--network`"),
    "estimators": ("Gradient estimators", "The gradient of E_q[f(z)], `--estimator`"),
}


def sentence(part: type) -> str:
    """The first paragraph of a part's docstring, on one line, fit for a table."""
    first = (inspect.getdoc(part) or "").split("\n\n")[0]
    pieces = " ".join(first.split()).replace("|", "\\|").split("``")
    # Every other piece is code, in which nothing is escaped.
    pieces[::2] = [piece.replace("*", "\\*").replace("_", "\\_") for piece in pieces[::2]]
    return "`".join(pieces)


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
        "Made from the classes by `make docs`. A posterior goes with any prior on the same latent space, with any",
        "likelihood that fits the data, any objective (the deterministic posterior: reconstruction alone) and any",
        "network. Options are given with the name: in Python `prior={'name': 'normal-mixture', 'num_components': 6}`",
        "or `prior=reparax.priors.NormalMixture(num_components=6)`, on the command line `--prior normal-mixture",
        "--prior.num-components 6`.",
    ]
    for room, (title, what) in ROOMS.items():
        with_spaces = room in ("posteriors", "priors")
        lines += ["", f"## {title}", "", f"{what}.", ""]
        titles = ["name", *(["latent space"] if with_spaces else []), "what", "options"]
        lines += [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
        for name in registry.names(room):
            part = registry.load(room, name)
            cells = [f"`{name}`", *([spaces(part)] if with_spaces else []), sentence(part), options(room, name)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
