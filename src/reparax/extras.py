"""Optional libraries: if one is missing, the error names the command that installs it."""

from collections.abc import Generator
from contextlib import contextmanager

from reparax.errors import MissingExtra

EXTRA_OF = {
    "polars": "tables",
    "pyarrow": "tables",
    "narwhals": "tables",
    "sklearn": "tables",
    "h5py": "counts",
    "fastexcel": "excel",
    "xlsxwriter": "excel",
    "PIL": "images",
    "jinja2": "report",
    "markupsafe": "report",
    "matplotlib": "report",
    "onnx": "onnx",
    "starlette": "serve",
    "uvicorn": "serve",
    "websockets": "explore",
    "tensorboardX": "tensorboard",
    "mlflow": "mlflow",
    "dp_accounting": "privacy",
    "cyclopts": "cli",
    "rich": "cli",
}
"""The extra of this package that installs a library, by the name that is imported."""

APART = frozenset({"mlflow"})
"""Extras that are not part of ``all``, as they bring many libraries along."""


@contextmanager
def extras() -> Generator[None]:
    """Turns failed imports of optional libraries into `MissingExtra`; also usable as a decorator.

    Raises:
        MissingExtra: An optional library is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        extra = EXTRA_OF.get(library)
        if extra is None or isinstance(error, MissingExtra):
            raise
        raise MissingExtra(
            expected=f"{library} to be installed",
            got="an installation without it",
            cure=f"run: pip install 'reparax[{extra}]'" + ("" if extra in APART else " (or 'reparax[all]')"),
        ) from None
