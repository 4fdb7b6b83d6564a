"""Watchers: a file of comma-separated values, TensorBoard, MLflow."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reparax.disk import atomic_write
from reparax.extras import extras
from reparax.training._record import Record, Status


class HistoryFile:
    """Writes the records to a .csv file, anew at each look, so that it is whole whenever it is read.

    There is one line for each look, and a column for each number of `Record.flat`; cells of numbers that a record does
    not have are empty.

    Args:
        path: The file; an existing one is replaced. A resumed run begins it with the records of the runs before.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser()
        self._records: list[Record] = []

    def start(self, settings: Mapping[str, Any], history: Sequence[Record]) -> None:
        """Begins the file.

        Raises:
            OutputError: It cannot be written.
        """
        self._records = list(history)
        self._write()

    def record(self, record: Record) -> None:
        """Adds a line.

        Raises:
            OutputError: The file cannot be written.
        """
        self._records.append(record)
        self._write()

    def end(self, status: Status | None) -> None:
        """Does nothing: the file is whole."""

    def _write(self) -> None:
        with atomic_write(self._path) as temporary:
            temporary.write_text(history_text(self._records), encoding="utf-8")


def history_text(history: Sequence[Record]) -> str:
    """Records as comma-separated values, with a header.

    Args:
        history: The records.
    """
    rows = [record.flat() for record in history]
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["epoch", "step", "seconds"]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


class TensorBoard:
    """Writes the records as scalars that TensorBoard shows (extra ``tensorboard``).

    Args:
        folder: The folder of the run.

    Raises:
        MissingExtra: tensorboardX is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        with extras():
            import tensorboardX
        self._library = tensorboardX
        self._folder = str(Path(folder).expanduser())
        self._writer: Any = None

    def start(self, settings: Mapping[str, Any], history: Sequence[Record]) -> None:
        """Opens the run, and shows its settings as text."""
        self._writer = self._library.SummaryWriter(self._folder)
        if not history:
            lines = [f"    {line}" for line in json.dumps(settings, indent=2, default=str).splitlines()]
            self._writer.add_text("settings", "\n".join(lines))

    def record(self, record: Record) -> None:
        """Adds the numbers of a record at its step."""
        for name, number in record.flat().items():
            if name not in ("step", "seconds"):
                self._writer.add_scalar(name, number, record.step)
        self._writer.flush()

    def end(self, status: Status | None) -> None:
        """Closes the run."""
        self._writer.close()


class MLflow:
    """Logs the settings and the records as a run of MLflow (extra ``mlflow``).

    Where it goes is what MLflow itself is told: by ``mlflow.set_tracking_uri``, or MLFLOW_TRACKING_URI.

    Args:
        experiment: The name of the experiment, which is created if there is none.

    Raises:
        MissingExtra: MLflow is not installed.
    """

    def __init__(self, experiment: str) -> None:
        with extras():
            import mlflow  # ty: ignore[import-not-found]
        self._library = mlflow
        self._experiment = experiment

    def start(self, settings: Mapping[str, Any], history: Sequence[Record]) -> None:
        """Begins a run with the settings as its parameters."""
        self._library.set_experiment(self._experiment)
        self._library.start_run()
        self._library.log_params(dict(settings))

    def record(self, record: Record) -> None:
        """Logs the numbers of a record at its step."""
        numbers = {name: number for name, number in record.flat().items() if name != "step"}
        self._library.log_metrics(numbers, step=record.step)

    def end(self, status: Status | None) -> None:
        """Ends the run."""
        self._library.set_tag("status", status or "ended with an error")
        self._library.end_run({None: "FAILED", "diverged": "FAILED", "interrupted": "KILLED"}.get(status, "FINISHED"))
