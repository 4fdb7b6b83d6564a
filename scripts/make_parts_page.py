"""Writes docs/parts.md, the table of all parts, from the classes themselves."""

import inspect
from pathlib import Path

from reparax import registry

PAGE = Path(__file__).resolve().parents[1] / "docs" / "parts.md"

ROOMS = {
    "posteriors": ("Posteriors", "q(z | x), `--posterior`"),
    "priors": ("Priors", "p(z), `--prior`"),
    "likelihoods": ("Likelihoods", "p(x | z), `--likelihood`"),
    "objectives": ("Objectives", "what training maximizes, `--objective`"),
    "networks": ("Networks", "encoder and decoder, `--network`"),
    "estimators": ("Gradient estimators", "d/dtheta E_q[f(z)], `--estimator`"),
}


def sentence(part: type) -> str:
    """The first paragraph of a part's docstring, on one line, fit for a table."""
    first = (inspect.getdoc(part) or "").split("\n\n")[0]
    return " ".join(first.split()).replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def spaces(part: type) -> str:
    """Where z lives, for posteriors and priors."""
    if hasattr(part, "latent_space"):
        return part.latent_space
    return ", ".join(sorted(getattr(part, "latent_spaces", ())))


def page() -> str:
    """The whole page."""
    lines = [
        "# The parts",
        "",
        "Made from the classes by `make docs`. A posterior goes with any prior on the same latent space, with any",
        "likelihood that fits the data, any objective (the deterministic posterior: reconstruction alone) and any",
        "network.",
    ]
    for room, (title, what) in ROOMS.items():
        with_spaces = room in ("posteriors", "priors")
        lines += ["", f"## {title}", "", f"{what[0].upper()}{what[1:]}.", ""]
        lines += (
            ["| name | latent space | what |", "|---|---|---|"] if with_spaces else ["| name | what |", "|---|---|"]
        )
        for name in registry.names(room):
            part = registry.load(room, name)
            cells = [f"`{name}`", *([spaces(part)] if with_spaces else []), sentence(part)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
