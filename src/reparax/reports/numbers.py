"""The numbers of a report as JSON, for programs."""

import json
import math
from typing import Any

import msgspec

from reparax.reports.findings import LIMITS, findings_of
from reparax.reports.statistics import associations
from reparax.reports.study import Study


def as_json(study: Study) -> str:
    """The numbers of a report: findings with their limits, columns, joint measures, privacy, bounds, training.

    NaN and infinities, which JSON does not have, are null.
    """
    return json.dumps(_finite(_numbers(study)), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _numbers(study: Study) -> dict[str, Any]:
    schema, fitted = study.fitted.schema, study.fitted
    numbers: dict[str, Any] = {
        "findings": [_plain(found) for found in findings_of(study)],
        "limits": {name: limits._asdict() for name, limits in LIMITS.items()},
        "data": {
            "kind": schema.kind,
            "examples": len(study.dataset),
            "fitted": schema.num_examples,
            "held_out": None if study.held_out is None else len(study.held_out),
        },
        "evaluation": _plain(study.evaluation.as_dict()),
        "codes": None if study.code_use is None else study.code_use.as_dict(),
        "privacy": _plain(study.privacy),
        "training": {
            "status": fitted.status,
            "history": [_plain(record) for record in fitted.history],
        },
        "seed": study.seed,
    }
    if study.is_table:
        numbers["columns"] = _columns(study)
        numbers["told_apart"] = _plain(study.told_apart) | {"judged_on": study.sides.words}
        numbers["trained_on_synthetic"] = _plain(study.trained)
        numbers["associations"] = _associations(study)
        numbers["worst_pair"] = _plain(study.worst_pair)
    elif not study.is_binarized:
        numbers["variance_reconstructed"] = 1 - study.unexplained
    return numbers


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, enc_hook=float)


def _columns(study: Study) -> list[dict[str, Any]]:
    """The distance of real and synthetic cells of each column, and what chance alone makes on average."""
    distances, chances = study.column_distances
    return [
        {"name": column.name, "distance": distance, "by_chance": chance}
        for column, distance, chance in zip(study.columns, distances.tolist(), chances.tolist(), strict=True)
    ]


def _associations(study: Study) -> list[dict[str, Any]]:
    """How strongly each pair of the columns that the report shows is associated, in real and in synthetic rows."""
    places = study.related.tolist()
    columns = tuple(study.columns[place] for place in places)
    real, synthetic = (associations(values[:, places], columns) for values in study.compared)
    return [
        {"names": [columns[j].name, columns[i].name], "real": float(real[i, j]), "synthetic": float(synthetic[i, j])}
        for i in range(len(columns))
        for j in range(i)
    ]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
