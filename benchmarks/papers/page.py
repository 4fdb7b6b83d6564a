"""Makes docs/papers.md: the protocol of each script from its docstring, its table from what it kept."""

import ast
from dataclasses import dataclass
from pathlib import Path

from record import FOLDER, HEADER, RESULTS, Record

PAGE = FOLDER.parents[1] / "docs" / "papers.md"
ON_TWO_CORES = ("binary_gradients", "miwae", "few_labels", "hyperspherical", "iwae")
"""What `make papers` runs."""

INTRODUCTION = """# Papers

Published results beside ours, each made by a script in `benchmarks/papers` through the public functions. `make papers`
runs those that take minutes on two cores and writes this page; the docstring of each script, which is quoted here, says
what was run. Ours is the mean over the seeds, with the smallest and the largest in parentheses. Times are of a machine
that was shared.
"""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        script: The file.
        kept: The results that it shows, in this order.
        command: How to run it.
        not_run: What was not run, and why.
    """

    script: str
    kept: tuple[str, ...]
    command: str
    not_run: str = ""


SECTIONS = (
    Section("few_labels", ("few_labels",), "python benchmarks/papers/few_labels.py"),
    Section("miwae", ("miwae",), "python benchmarks/papers/miwae.py"),
    Section("hi_vae", ("hi_vae",), "python benchmarks/papers/hi_vae.py FOLDER"),
    Section("held_out_counts", ("held_out_counts",), "python benchmarks/papers/held_out_counts.py FILE FILE"),
    Section("frey_faces", ("frey_faces",), "python benchmarks/papers/frey_faces.py FILE"),
    Section("binary_gradients", ("binary_gradients",), "python benchmarks/papers/binary_gradients.py"),
    Section("hyperspherical", ("hyperspherical",), "python benchmarks/papers/hyperspherical.py"),
    Section(
        "iwae", ("iwae", "iwae_published"), "python benchmarks/papers/iwae.py reduced",
        "`iwae.py published`, the table of the paper: it is for a GPU, and none was lent. `tests/test_papers.py` fits "
        "the same models at a tiny size.",
    ),
    Section(
        "ladder", ("ladder", "ladder_published"), "python benchmarks/papers/ladder.py published",
        "`ladder.py published`: it is for a GPU, and none was lent. `tests/test_papers.py` fits the same models at a "
        "tiny size.",
    ),
)  # fmt: skip


def page() -> str:
    """The text of the page."""
    return "\n".join([INTRODUCTION, *map(section, SECTIONS)])


def section(of: Section) -> str:
    """The protocol, and the results that are kept."""
    title, _, protocol = docstring(of.script).partition("\n\n")
    found = [Record.load(RESULTS / f"{name}.json") for name in of.kept if (RESULTS / f"{name}.json").exists()]
    left = [f"**Not run:** {of.not_run}\n"] if of.not_run and not has_all(of) else []
    nothing = [] if found or left else ["**Not run.**\n"]
    return "\n".join(
        [
            f"## {title.rstrip('.')}\n",
            protocol + "\n",
            f"`{of.command}{seeds_of(found)}`\n",
            *map(shown, found),
            *left,
            *nothing,
        ]
    )


def seeds_of(found: list[Record]) -> str:
    """The option with the seeds of the first record, those of its rows with the most."""
    most = max((row.seeds for record in found[:1] for row in record.rows), key=len, default=())
    return f" --seeds {' '.join(map(str, most))}" if most else ""


def has_all(of: Section) -> bool:
    """Whether everything that a script can run was run."""
    return all((RESULTS / f"{name}.json").exists() for name in of.kept)


def shown(record: Record) -> str:
    """A record as a table, with its notes and its time."""
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in record.rows]
    settings = f" (`{record.settings}`)" if record.settings else ""
    took = f"{record.minutes:g} minutes{settings}."
    return "\n".join([*lines, "", *(f"- {note}" for note in record.notes), *([""] if record.notes else []), took, ""])


def docstring(script: str) -> str:
    """The docstring of a script, without running it."""
    tree = ast.parse((FOLDER / f"{script}.py").read_text(encoding="utf-8"))
    text = ast.get_docstring(tree)
    assert text is not None
    return text


def write(path: Path = PAGE) -> None:
    path.write_text(page(), encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    write()
