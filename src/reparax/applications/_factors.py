"""How codes relate to known factors of variation: MIG, SAP, DCI and the FactorVAE score."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from reparax.applications._codes import ACTIVE_VARIANCE
from reparax.applications._door import dataset_of
from reparax.applications._encode import encode
from reparax.data import Dataset, read, read_npy
from reparax.errors import DataError
from reparax.extras import extras
from reparax.recipe import FittedModel

BINS = 20
MOST_ROWS = 5000
"""Rows for the forests of DCI, drawn at random from more."""
TREES = 40
VOTES = 600
ROWS_OF_A_VOTE = 64


@dataclass(frozen=True)
class OfFactor:
    """How codes relate to one factor.

    Attributes:
        mig: The gap between the two largest mutual informations with a code, over the entropy of the factor.
        sap: The gap between the two best predictions from one code alone.
        completeness: 1 if one code alone tells the factor, 0 if all codes are equally important.
        informativeness: How well all codes together predict it: R squared of a number, for categories the fraction of
            the errors of guessing that is avoided; 0 if no better than guessing.
        code: The code with the largest mutual information with it, counted from 0.
    """

    mig: float
    sap: float
    completeness: float
    informativeness: float
    code: int


@dataclass(frozen=True)
class Factors:
    """How codes relate to known factors: means over the factors.

    Each is 1 if every factor is one code, and about 0 if they are independent, except for the FactorVAE score.

    Attributes:
        num_examples: The number of examples.
        mig: The mutual information gap, Chen et al. (2018), "Isolating sources of disentanglement in variational
            autoencoders", equation 6. Numbers are split at 20 quantiles.
        sap: The separated attribute predictability, Kumar et al. (2018), "Variational inference of disentangled latent
            concepts", section 3: R squared of a number, for categories the balanced accuracy of thresholds of the code,
            scaled so that guessing is 0.
        disentanglement: Eastwood & Williams (2018), "A framework for the quantitative evaluation of disentangled
            representations", section 2: 1 if every code is important for one factor alone. Importances are those of
            random forests.
        completeness: The same for factors: 1 if one code alone is important for each.
        informativeness: How well the codes predict the factors, on rows that the forests have not seen.
        factor_vae_score: Kim & Mnih (2018), "Disentangling by factorising", section 4: how often the code that varies
            least among rows with one factor fixed says which factor that is. Guessing has 1 / (number of factors).
        by_factor: The same for each factor.
    """

    num_examples: int
    mig: float
    sap: float
    disentanglement: float | None
    completeness: float
    informativeness: float
    factor_vae_score: float
    by_factor: dict[str, OfFactor]


def evaluate_factors(fitted: FittedModel, data: Any, factors: Any, *, seed: int = 0, context: Any = None) -> Factors:
    """How the codes of a model relate to known factors of variation of the same examples.

    Args:
        fitted: The fitted model.
        data: Anything `reparax.data.read` reads, or a `Dataset`.
        factors: One row for each example, in the same order: a file, a frame, or an array; one column for each factor,
            of numbers or categories.
        seed: The seed of forests and votes.
        context: For a conditional model, one row of numbers for each example, or what is given by name.

    Raises:
        DataError: The data or the factors cannot be read, do not have equally many rows, or a factor has gaps or one
            value only.
        MissingExtra: scikit-learn is not installed.
    """
    dataset = dataset_of(fitted, data, context)
    return factors_of(encode(fitted, dataset), factors, seed=seed, active_variance=ACTIVE_VARIANCE)


@extras()
def factors_of(
    codes: Float[np.ndarray, "n k"], factors: Any, *, seed: int = 0, active_variance: float = 0.0
) -> Factors:
    """How codes relate to known factors.

    Args:
        codes: One row for each example.
        factors: As of `evaluate_factors`.
        seed: The seed of forests and votes.
        active_variance: Codes with a smaller variance have no vote in the FactorVAE score.

    Raises:
        DataError: As of `evaluate_factors`.
        MissingExtra: scikit-learn is not installed.
    """
    z = np.asarray(codes, np.float64).reshape(len(codes), -1)
    known = _Known.of(read_factors(factors, len(z)))
    levels = known.levels
    information = np.stack([[_information(_binned(code), level) for code in z.T] for level in levels])
    entropy = np.asarray([_information(level, level) for level in levels])
    mig = _gap(information / entropy[:, None])
    sap = _gap(np.stack([[_alone(code, *pair) for code in z.T] for pair in known.pairs]))
    importance, skill = _forests(z, known, seed)
    complete = 1 - _relative_entropy(importance)
    names = known.names
    by_factor = {
        name: OfFactor(*map(float, numbers), int(code))
        for name, *numbers, code in zip(names, mig, sap, complete, skill, information.argmax(axis=1), strict=True)
    }
    return Factors(
        num_examples=len(z),
        mig=float(mig.mean()),
        sap=float(sap.mean()),
        disentanglement=_disentanglement(importance),
        completeness=float(complete.mean()),
        informativeness=float(skill.mean()),
        factor_vae_score=_factor_vae_score(z[:, z.var(axis=0) > active_variance], levels, seed),
        by_factor=by_factor,
    )


def read_factors(factors: Any, num_examples: int) -> Dataset:
    """Factors as a table, one row for each example.

    Raises:
        DataError: They cannot be read, have gaps or another number of rows, or cannot be told as numbers or categories.
    """
    dataset = factors if isinstance(factors, Dataset) else read(_in_columns(factors))
    schema = dataset.schema
    columns = schema.columns or ()
    constant = next((f"column {column.name!r} of one value" for column in columns if column.low == column.high), "")
    wrong = (
        f"{len(dataset)} rows" if len(dataset) != num_examples
        else f"data of kind {schema.kind}" if schema.columns is None
        else f"column {schema.excluded[0][0]!r}, {schema.excluded[0][1]}" if schema.excluded
        else "missing cells" if any(column.missing for column in columns)
        else constant
    )  # fmt: skip
    if wrong:
        raise DataError(
            expected=f"a table of factors with {num_examples} rows, of numbers or categories that recur",
            got=wrong,
            cure="give one row for each example in the order of the data, and leave out columns that are no factors",
        )
    return dataset


def _in_columns(factors: Any) -> Any:
    """What was given, with a second axis."""
    if isinstance(factors, str | Path) and Path(factors).suffix == ".npy":
        factors = read_npy(Path(factors).expanduser())
    return factors[:, None] if isinstance(factors, np.ndarray) and factors.ndim == 1 else factors


@dataclass(frozen=True)
class _Known:
    """Factors.

    Attributes:
        names: Their names.
        pairs: Their values, numbers or codes of categories, and whether they are categories.
        levels: The places of their values among at most 20 bins of numbers, or the categories.
    """

    names: tuple[str, ...]
    pairs: list[tuple[np.ndarray, bool]]
    levels: list[Int[np.ndarray, " n"]]

    @classmethod
    def of(cls, factors: Dataset) -> "_Known":
        columns = factors.schema.columns or ()
        pairs = [
            (values.astype(np.float64), column.is_category and column.kind != "boolean")
            for values, column in zip(factors.values.T, columns, strict=True)
        ]
        levels = [np.unique(values, return_inverse=True)[1] if code else _binned(values) for values, code in pairs]
        return cls(tuple(column.name for column in columns), pairs, levels)


def _binned(values: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The places of numbers between their quantiles, or among their distinct values if there are at most 20."""
    distinct, places = np.unique(values, return_inverse=True)
    if len(distinct) <= BINS:
        return places
    inner = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(inner, values, side="right")


def _information(a: Int[np.ndarray, " n"], b: Int[np.ndarray, " n"]) -> float:
    """The mutual information of two columns of bins, in nats."""
    from sklearn.metrics import mutual_info_score

    return float(mutual_info_score(a, b))


def _gap(scores: Float[np.ndarray, "f k"]) -> Float[np.ndarray, " f"]:
    """The largest score of each factor minus the second largest; a single code has no second, which counts as 0."""
    ordered: np.ndarray = np.sort(np.pad(scores, ((0, 0), (1, 0))), axis=1).astype(np.float64)
    return ordered[:, -1] - ordered[:, -2]


def _alone(code: np.ndarray, values: np.ndarray, is_category: bool) -> float:
    """How well one code predicts a factor: R squared of a line, or balanced accuracy of thresholds above guessing."""
    if np.ptp(code) == 0:
        return 0.0
    if not is_category:
        return float(np.corrcoef(code, values)[0, 1] ** 2)
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    count = len(np.unique(values))
    tree = DecisionTreeClassifier(max_leaf_nodes=max(2, count), class_weight="balanced", random_state=0)
    guess = tree.fit(code[:, None], values).predict(code[:, None])
    return float(max(0.0, balanced_accuracy_score(values, guess, adjusted=True)))


def _forests(z: np.ndarray, known: _Known, seed: int) -> tuple[Float[np.ndarray, "f k"], Float[np.ndarray, " f"]]:
    """The importance of each code for each factor, summing to 1 over the codes, and how well they predict it."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    order = np.random.default_rng(seed).permutation(len(z))[:MOST_ROWS]
    seen, unseen = np.split(order, [max(1, 3 * len(order) // 4)])
    importance, skill = [], []
    for values, is_category in known.pairs:
        make = RandomForestClassifier if is_category else RandomForestRegressor
        forest = make(TREES, min_samples_leaf=3, max_features=None, random_state=seed, n_jobs=1).fit(
            z[seen], values[seen]
        )
        importance.append(forest.feature_importances_)
        skill.append(_skill(values[unseen], forest.predict(z[unseen]), is_category))
    return np.stack(importance), np.asarray(skill)


def _skill(real: np.ndarray, predicted: np.ndarray, is_category: bool) -> float:
    """The fraction of the errors of the best constant that predictions avoid; 0 if none."""
    if is_category:
        guessing = 1 - np.unique(real, return_counts=True)[1].max() / len(real)
        error = float((real != predicted).mean())
    else:
        guessing, error = float(real.var()), float(np.square(real - predicted).mean())
    return max(0.0, 1 - error / guessing) if guessing > 0 else float("nan")


def _relative_entropy(weights: Float[np.ndarray, "f k"]) -> Float[np.ndarray, " f"]:
    """The entropy of the rows over its largest value; 0 for a single column, 1 for rows of zeros."""
    total = weights.sum(axis=1, keepdims=True)
    p = np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1 / weights.shape[1])
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=1)
    return entropy / np.log(weights.shape[1]) if weights.shape[1] > 1 else np.zeros(len(weights))


def _disentanglement(importance: Float[np.ndarray, "f k"]) -> float | None:
    """The mean over codes, weighted by their importance, of 1 - entropy over the factors; None for one factor."""
    if len(importance) < 2:
        return None
    weights = importance.sum(axis=0)
    return float(np.sum((1 - _relative_entropy(importance.T)) * weights) / max(weights.sum(), 1e-300))


def _factor_vae_score(z: Float[np.ndarray, "n k"], levels: list[Int[np.ndarray, " n"]], seed: int) -> float:
    """The accuracy of a majority vote that tells the fixed factor from the code that varies least."""
    if z.shape[1] == 0:
        return 1 / len(levels)
    rng = np.random.default_rng(seed)
    scale = z.var(axis=0)
    groups = [_groups(level) for level in levels]
    tables = np.zeros((2, z.shape[1], len(levels)))
    for place in range(2 * VOTES):
        factor = int(rng.integers(len(levels)))
        if not groups[factor]:
            continue
        rows = rng.choice(groups[factor][int(rng.integers(len(groups[factor])))], ROWS_OF_A_VOTE)
        tables[place % 2, int(np.argmin(z[rows].var(axis=0) / scale)), factor] += 1
    learned, judged = tables
    rightly = judged[np.arange(len(judged)), learned.argmax(axis=1)]
    return float(rightly.sum() / max(1.0, judged.sum()))


def _groups(level: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " m"]]:
    """The rows of each value of a factor that several rows have."""
    found: list[Bool[np.ndarray, " n"]] = [level == value for value in np.unique(level)]
    return [np.flatnonzero(rows) for rows in found if rows.sum() > 1]
