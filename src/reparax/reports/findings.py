"""Findings: what a person should know of a model first, each a sentence with its measure and how good it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from reparax.applications import Measured
from reparax.data import fractions_held, relation_lines
from reparax.reports.charts import nats, number, percent, shortened
from reparax.reports.study import Study
from reparax.training import LEAST_RISE, LEVELED, kept_record, late_rise

Level = Literal["good", "fair", "poor", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One thing that is known of a model, for the first card of the report and for its JSON.

    To add a finding to every report, write a function of a `Study` that returns a tuple of findings (an empty one where
    it does not apply) and append it to `FINDERS`. The card, its colors and the JSON follow. Numbers that it needs and
    that take time to compute belong into a cached property of `Study`, the limits for its words into `LIMITS`.

    Attributes:
        sentence: What was found, in a person's words, with the number in it.
        measure: What was measured, in a few words; the name in the JSON.
        value: The number; None where nothing could be measured.
        level: How good it is; unknown where it cannot be judged.
        detail: On what it was measured, what it is compared with, where it is worst; may be empty.
        cure: What to do about it; None where nothing is to be done.
        interval: The 95 % confidence interval of the number, where it is known.
    """

    sentence: str
    measure: str
    value: float | None
    level: Level
    detail: str = ""
    cure: str | None = None
    interval: tuple[float, float] | None = None


CURE_OF_GIVEN = "--prior conditional-flow follows what is given more closely; codes then depend on it."


class Limits(NamedTuple):
    """Up to which value a measure is called good, and up to which fair; above, it is poor.

    Attributes:
        good: The largest good value.
        fair: The largest fair value.
        reason: Why these.
    """

    good: float
    fair: float
    reason: str

    def level(self, value: float) -> Level:
        """The word for a value."""
        if not np.isfinite(value):
            return "unknown"
        return "good" if value <= self.good else "fair" if value <= self.fair else "poor"


LIMITS = {
    "told apart": Limits(
        0.25, 0.6,
        "of the way from guessing, which real rows in place of the synthetic ones would reach, to certainty: a judge "
        "who knows the answer for this fraction of the pairs of rows and guesses the others has this area",
    ),
    "trained on synthetic rows": Limits(
        0.05, 0.25, "of what classifiers trained on real rows know beyond guessing: a twentieth and a quarter are lost"
    ),
    "worst pair": Limits(
        0.1, 0.3,
        "beyond the largest difference between two halves of the real rows; 0.1 and 0.3 are a small and a medium "
        "correlation (Cohen 1988)",
    ),
    "relations": Limits(
        0.01, 0.05, "of the rows, beyond those of the real rows: found relations may fail in one of a hundred"
    ),
    "columns": Limits(
        0.02, 0.1,
        "beyond 1.7 times what two samples of one distribution differ by on average, which few of many columns exceed "
        "(1.7 is the 97.5 % quantile of Kolmogorov's distribution over its mean): 2 and 10 of 100 rows have to move",
    ),
    "overfitting": Limits(
        0.2, 0.5, "standard deviations of the bounds of single rows: a small and a medium effect (Cohen 1988)"
    ),
    "still improving": Limits(
        LEVELED, 0.26,
        "of the rise since the first third of training: a curve that nears its limit as 1/t has 0.17 of it in the last "
        "quarter, one that still grows as log t has 0.26, one that grows evenly 0.38",
    ),
    "left of the variance": Limits(
        0.2, 0.6, "of the variance around the mean example, which a model without latent variables would leave: 1"
    ),
    "nearer to the rows of the fit": Limits(
        0.1, 0.3, "of the way from no memory (0.5) to copies (1), for the lower end of the interval"
    ),
    "membership": Limits(
        0.1, 0.3, "of the way from guessing (0.5) to certainty (1), for the lower end of the interval"
    ),
    "copies": Limits(0.0, 0.01, "beyond those among held-out rows, in fractions of the rows, with two standard errors"),
}  # fmt: skip
"""When a measure is called good, fair or poor: all limits of this report, each relative to what real rows reach."""

LARGEST_BY_CHANCE = 1.7
WORTH_NAMING = 0.02
WIDE = 0.05
"""An interval of this half-width or more is said in the sentence."""
LOPSIDED = 0.03
"""An interval whose ends are not this close to the same distance from the number is said by its ends."""


def findings_of(study: Study) -> tuple[Finding, ...]:
    """All findings on a model and its data, in order."""
    return tuple(finding for find in FINDERS for finding in find(study))


def collapsed(study: Study) -> tuple[Finding, ...]:
    """Whether the latent variables carry information on the data."""
    active, size = study.evaluation.active_units, study.evaluation.latent_dim
    name, rows = "active latent dimensions", study.rows_word()
    if active == 0:
        sentence = "Posterior collapse: no latent dimension carries information on the data."
        detail = (
            "The map, the embeddings and the reconstructions below are meaningless, and synthetic data may match each "
            "column but not the associations between columns."
        )
        cure = "Fit again with --warmup-epochs, --free-bits 0.1, --beta 0.5 or more epochs."
        return (Finding(sentence, name, 0.0, "poor", detail, cure),)
    if size >= 4 and active <= size // 4:
        sentence = f"Only {active} of {size} latent dimensions are used."
        cure = "This does no harm; a smaller --latent-dim would do as well."
        return (Finding(sentence, name, float(active), "fair", cure=cure),)
    if study.is_table:
        return ()
    of_all = {1: "The latent dimension carries", 2: "Both latent dimensions carry"}.get(
        size, f"All {size} latent dimensions carry"
    )
    some = f"{active} of {size} latent dimensions {'carries' if active == 1 else 'carry'}"
    sentence = f"{of_all if active == size else some} information on the {rows}."
    return (Finding(sentence, name, float(active), "good"),)


def apart(study: Study) -> tuple[Finding, ...]:
    """Whether a classifier tells synthetic rows from real ones."""
    if not study.is_table:
        return ()
    area = study.told_apart
    level = LIMITS["told apart"].level(2 * area.value - 1)
    words = {"good": "are hard to tell", "fair": "can in part be told", "poor": "are easily told"}.get(level, "")
    sentence = f"Synthetic rows {words} from real ones: {area.value:.2f}{_spread(area)} (0.5 is perfect)."
    detail = (
        "A classifier is shown a real and a synthetic row and finds the real one so often; it learned from "
        f"{len(study.sides.real):,} of each and was judged on {study.sides.words}."
    )
    without = study.told_apart_without_given
    if without is not None:
        detail += f" One that does not see what is given tells them apart at {without.value:.2f}{_spread(without)}."
    cure = CURE_OF_GIVEN if level in {"fair", "poor"} and _shares_prior(study) else None
    return (Finding(sentence, "told apart", area.value, level, detail, cure, (area.low, area.high)),)


def _shares_prior(study: Study) -> bool:
    """Whether something is given, but the prior of real codes is the same whatever it is."""
    recipe, posterior = study.fitted.recipe, study.fitted.model.posterior
    can_depend = posterior.latent_space == "real" and posterior.has_density and len(posterior.latent_shape) == 1
    return bool(study.given) and recipe is not None and can_depend and "conditional" not in recipe.name("prior")


def useful(study: Study) -> tuple[Finding, ...]:
    """What classifiers lose that are trained on synthetic rows."""
    trained = study.trained if study.is_table else None
    if trained is None:
        return ()
    name = "loss of classifiers trained on synthetic rows"
    level = LIMITS["trained on synthetic rows"].level(trained.share)
    if level == "unknown":
        sentence = "No column can be predicted from the others, even by a classifier trained on real rows."
        return (Finding(sentence, name, trained.loss, level),)
    lost = trained.loss >= 0.005
    real, synthetic = float(np.mean(trained.real)), float(np.mean(trained.synthetic))
    sentence = "Trained on them, a classifier "
    sentence += f"reaches {synthetic:.2f} instead of {real:.2f} (0.5 is guessing)." if lost else "loses nothing."
    count = len(trained.names)
    asked = shortened(trained.names[0], 40) if count == 1 else f"{count} columns, each from all the others"
    detail = (
        f"The area under the ROC curve is {synthetic:.3f} instead of {real:.3f} if trained on real rows (0.5 is "
        f"guessing), predicting {asked}"
    )
    worst = trained.worst
    if count > 1 and trained.real[worst] - trained.synthetic[worst] >= WORTH_NAMING:
        detail += (
            f"; most is lost for {shortened(trained.names[worst], 40)}, {trained.synthetic[worst]:.2f} instead of "
            f"{trained.real[worst]:.2f}"
        )
    return (Finding(sentence, name, trained.loss, level, f"{detail}. Judged on {study.sides.words}."),)


def pairs(study: Study) -> tuple[Finding, ...]:
    """The pair of columns whose association is kept worst."""
    pair = study.worst_pair if study.is_table else None
    if pair is None:
        return ()
    level = LIMITS["worst pair"].level(pair.difference - pair.chance)
    names = " and ".join(shortened(name, 40) for name in pair.names)
    if level == "good":
        sentence = f"Pairs of columns belong together as in real rows; worst are {names}, off by {pair.difference:.2f}."
    else:
        verb = "are more strongly" if pair.synthetic > pair.real else "are less"
        sentence = f"Some columns {verb} associated than in real rows: worst are {names}, off by {pair.difference:.2f}."
    detail = (
        f"Their association is {pair.real:.2f} in real and {pair.synthetic:.2f} in synthetic rows (0 is none, 1 "
        f"complete); between two halves of the real rows, no pair differs by more than {pair.chance:.2f}."
    )
    return (Finding(sentence, "worst pair of columns", pair.difference, level, detail),)


def relations_held(study: Study) -> tuple[list[float], list[float]]:
    """The fractions of the real and of the synthetic rows in which each relation between columns holds."""
    real, synthetic = study.compared
    schema = study.fitted.schema.joint
    return fractions_held(schema, real), fractions_held(schema, synthetic)


def kept(study: Study) -> tuple[Finding, ...]:
    """Whether relations between columns hold in synthetic rows as in real ones."""
    lines = relation_lines(study.fitted.schema) if study.is_table else []
    if not lines:
        return ()
    real, synthetic = relations_held(study)
    broken = [of_real - of_synthetic for of_real, of_synthetic in zip(real, synthetic, strict=True)]
    worst = int(np.argmax(broken))
    level = LIMITS["relations"].level(broken[worst])
    name = shortened(lines[worst].text, 80)
    if level == "good":
        sentence = (
            f"Relations between columns hold in {percent(min(synthetic))} of the synthetic rows, such as: {name}."
        )
    else:
        sentence = (
            f"A relation between columns is broken in {percent(1 - synthetic[worst])} of the synthetic rows: {name}."
        )
    held = percent(real[worst])
    detail = f"{len(lines)} of them, found in the rows of the fit or stated; in real rows this one holds in {held}."
    return (Finding(sentence, "relations that hold in synthetic rows", min(synthetic), level, detail),)


def missing(study: Study) -> tuple[Finding, ...]:
    """Whether synthetic rows are told from real ones by which cells are missing."""
    if not study.is_table:
        return ()
    found = study.told_apart_by_gaps
    if not np.isfinite(found):
        return ()
    level = LIMITS["told apart"].level(2 * found - 1)
    words = {"good": "as they are in real rows", "fair": "a little otherwise than in real rows"}.get(
        level, "otherwise than in real rows"
    )
    sentence = f"Cells are missing {words}: by the gaps alone, {found:.2f} (0.5 is perfect)."
    return (Finding(sentence, "told apart by gaps", found, level),)


def single(study: Study) -> tuple[Finding, ...]:
    """The column whose distribution is kept worst."""
    if not study.is_table or not np.isfinite(study.column_distances[0]).any():
        return ()
    distances, chances = study.column_distances
    largest = LARGEST_BY_CHANCE * chances
    excess = np.nan_to_num(distances - largest, nan=-np.inf)
    place = int(excess.argmax())
    level = LIMITS["columns"].level(float(excess[place]))
    words = {"good": "Each column is distributed as in real rows", "fair": "Some columns are a little off"}.get(
        level, "Some columns are distributed in another way than in real rows"
    )
    sentence = f"{words}; worst is {shortened(study.columns[place].name, 40)}, off by {distances[place]:.3f}."
    detail = f"0 is the same, 1 has nothing in common; chance alone makes up to {largest[place]:.3f}."
    return (Finding(sentence, "worst column", float(distances[place]), level, detail),)


def reconstructed(study: Study) -> tuple[Finding, ...]:
    """How much of images and arrays is reconstructed."""
    if study.is_table or study.is_binarized:
        return ()
    left, rows = study.unexplained, study.rows_word()
    level = LIMITS["left of the variance"].level(left)
    sentence = f"Reconstructions show {percent(max(0.0, 1 - left))} of what makes the {rows} differ."
    detail = f"The variance of {study.evaluated_words}; 100 % is perfect, 0 % is the mean of all {rows}."
    cure = None if level == "good" else "A larger --latent-dim or more --epochs keep more."
    return (Finding(sentence, "variance reconstructed", 1 - left, level, detail, cure),)


def overfitted(study: Study) -> tuple[Finding, ...]:
    """Whether the bound on held-out rows is much worse than in training."""
    kept, evaluation = kept_record(study.fitted.history), study.evaluation
    error = evaluation.elbo_standard_error
    if kept is None or not kept.valid or study.held_out is None or not error:
        return ()
    spread = error * evaluation.num_examples**0.5
    gap = kept.train.get("bound", np.nan) - kept.valid["bound"]
    level = LIMITS["overfitting"].level(gap / spread)
    if level in {"good", "unknown"} or gap <= 2 * error:
        return ()
    rows = study.rows_word()
    sentence = f"The model knows the {rows} of the fit better than new ones, by {number(gap, 2)} nats (overfitting)."
    detail = (
        f"The bound was {nats(kept.train['bound'])} in training and {nats(kept.valid['bound'])} on held-out {rows}: "
        f"{gap / spread:.1f} standard deviations of single {rows}."
    )
    cure = f"More {rows} help most; else a smaller --width or --latent-dim, or more --weight-decay."
    return (Finding(sentence, "overfitting, in nats", float(gap), level, detail, cure),)


def unfinished(study: Study) -> tuple[Finding, ...]:
    """Whether training was cut off while the bound still rose.

    It is not said of a model that is overfitted: the rate of training falls to its end, so that the bound rises there
    in any case. On the taxi rides of seaborn, twice as many epochs made the held-out bound 0.6 nats worse.
    """
    status = study.fitted.status
    if status == "diverged":
        sentence, cure = "Training diverged; the best model before that was kept.", "A lower --learning-rate may help."
        return (Finding(sentence, "training", None, "poor", cure=cure),)
    if status == "interrupted":
        sentence = "Training was interrupted; the best model until then was kept."
        return (Finding(sentence, "training", None, "fair", cure="Fit again without stopping it."),)
    recipe = study.fitted.recipe
    share, rise = late_rise(study.fitted.history, 0 if recipe is None else recipe.warmup_epochs)
    level = LIMITS["still improving"].level(share)
    if status == "stopped early" or level in {"good", "unknown"} or rise < LEAST_RISE or overfitted(study):
        return ()
    sentence = "Still improving when it stopped: train longer."
    detail = (
        f"The bound rose by {number(rise, 2)} nats in the last quarter of training, {percent(share)} of its rise since "
        "the first third."
    )
    cure = f"Fit with --epochs {2 * round(study.fitted.history[-1].epoch):d}."
    name = "rise of the bound in the last quarter of training, in nats"
    return (Finding(sentence, name, rise, level, detail, cure),)


def private(study: Study) -> tuple[Finding, ...]:
    """Whether synthetic rows and bounds give away the rows of the fit."""
    found, rows = study.privacy, study.rows_word()
    if found is None:
        why, cure = study.without_privacy
        sentence = f"Whether {rows} of the fit are given away is not measured: {why}."
        return (Finding(sentence, "privacy", None, "unknown", cure=cure),)
    nearer, member = found.nearer, found.membership
    levels = (
        LIMITS["copies"].level(_copies(study)),
        LIMITS["nearer to the rows of the fit"].level(2 * nearer.low - 1),
        LIMITS["membership"].level(2 * member.low - 1),
    )
    level: Level = max(levels, key=("good", "fair", "poor", "unknown").index)
    sentence = {
        "good": f"No {rows} of the fit are seen to be given away",
        "fair": f"Some {rows} of the fit shine through",
    }.get(level, f"The {rows} of the fit are given away")
    sentence += (
        f": {_in_percent(nearer)} of the synthetic {rows} are nearer to one of them than to a new one "
        "(50 % gives nothing away)."
    )
    detail = (
        f"{percent(found.copies)} of the synthetic {rows} equal one of the fit, and {percent(found.held_out_copies)} "
        f"of the held-out ones do. The bound tells {rows} of the fit from held-out ones at {member.value:.2f}"
        f"{_spread(member)} (0.5 gives nothing away)."
    )
    cure = (
        None
        if level == "good"
        else f"Do not share these {rows} as anonymous; a smaller --width or more {rows} remember less."
    )
    return (
        Finding(sentence, "nearer to rows of the fit", nearer.value, level, detail, cure, (nearer.low, nearer.high)),
    )


def _copies(study: Study) -> float:
    """The fraction of copies beyond that among held-out rows and two standard errors; 0 if there are not more."""
    found = study.privacy
    assert found is not None
    p, q = found.copies, found.held_out_copies
    error = np.sqrt(p * (1 - p) / found.num_synthetic + q * (1 - q) / found.num_held_out)
    return max(0.0, p - q - 2 * float(error))


def _spread(measured: Measured) -> str:
    """An interval, if it is wide."""
    if measured.half_width < WIDE:
        return ""
    if _is_lopsided(measured):
        return f" ({measured.low:.2f} to {measured.high:.2f})"
    return f" \u00b1 {measured.half_width:.2f}"


def _is_lopsided(measured: Measured) -> bool:
    """Whether an interval is not the number plus or minus half its width."""
    return abs(measured.low + measured.high - 2 * measured.value) > LOPSIDED


def _in_percent(measured: Measured) -> str:
    """A fraction in percent, with its interval if it is wide."""
    if measured.half_width >= WIDE and _is_lopsided(measured):
        return f"{100 * measured.value:.0f} % ({100 * measured.low:.0f} to {100 * measured.high:.0f} %)"
    spread = f" \u00b1 {100 * measured.half_width:.0f}" if measured.half_width >= WIDE else ""
    return f"{100 * measured.value:.0f}{spread} %"


FINDERS: tuple[Callable[[Study], tuple[Finding, ...]], ...] = (
    collapsed, apart, useful, pairs, kept, missing, single, reconstructed, overfitted, unfinished, private,
)  # fmt: skip
"""What is looked for, in the order of the card; a new finding is one function more."""
