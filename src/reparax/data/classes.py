"""Labels as the values of a class, of which some may be missing."""

from dataclasses import replace

import msgspec
import numpy as np

from reparax.data.dataset import Dataset
from reparax.data.labels import is_absent
from reparax.errors import DataError

MOST_CLASSES = 1000
UNLABELED = -1


def with_classes(dataset: Dataset) -> Dataset:
    """The dataset with the number of the class of each example; the schema keeps the classes, in order.

    An example has no label where it is missing, NaN, empty text, or -1 among whole numbers (as in scikit-learn).

    Raises:
        DataError: There are no labels, fewer than two different ones, or so many that they are no classes.
    """
    if dataset.labels is None:
        raise DataError(
            expected="labels, of at least some of the examples", got="data without labels",
            cure="say where they are with --label, or reparax.read(data, label=...)",
        )  # fmt: skip
    labels = label_names(dataset.labels)
    names = sorted({name for name in labels if name is not None}, key=_order)
    between = [name for name in names if "." in name and _order(name)[0] == 0]
    if between:
        raise DataError(
            expected="labels that are classes: words, or whole numbers",
            got=f"the label {between[0]}",
            cure="model a column of measurements with the others, or round it to classes",
        )
    if not 2 <= len(names) <= MOST_CLASSES:
        raise DataError(
            expected=f"labels of 2 to {MOST_CLASSES} classes",
            got=f"{len(names)} different label{'' if len(names) == 1 else 's'}",
            cure="use a column of classes as labels; numbers that are no classes are columns to model",
        )
    place: dict[str | None, int] = {name: index for index, name in enumerate(names)}
    codes = np.asarray([place.get(name, UNLABELED) for name in labels], np.int32)
    return replace(dataset, schema=msgspec.structs.replace(dataset.schema, classes=tuple(names)), classes=codes)


def label_names(labels: np.ndarray) -> list[str | None]:
    """The name of the class of each label; None where there is no label."""
    return [None if _is_missing(label) else _name(label) for label in labels.tolist()]


def repeated_labels(dataset: Dataset, share: float, repeats: int) -> tuple[Dataset, int]:
    """The examples with the labeled ones repeated, and how often each of them occurs.

    Args:
        dataset: A dataset with classes.
        share: The fraction of the result that should be labeled.
        repeats: How often each labeled example occurs; 0 for as often as that takes.
    """
    assert dataset.classes is not None
    labeled = np.flatnonzero(dataset.classes >= 0)
    others = len(dataset) - len(labeled)
    repeats = repeats or max(1, round(share * others / ((1 - share) * max(1, len(labeled)))))
    return dataset.take(np.concatenate([np.arange(len(dataset)), np.tile(labeled, repeats - 1)])), repeats


def _is_missing(label: object) -> bool:
    return is_absent(label) or label == "" or (isinstance(label, int | float) and label == UNLABELED)


def _name(label: object) -> str:
    if not isinstance(label, float):
        return str(label)
    return str(int(label)) if label.is_integer() else f"{label:g}"


def _order(name: str) -> tuple[int, float, str]:
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name
