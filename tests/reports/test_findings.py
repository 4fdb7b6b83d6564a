"""The verdict: joint measures on rows whose answer is known, what is said of histories, and the numbers as JSON."""

import json
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy import stats

import reparax as rx
from reparax.applications import Measured, dataset_of, known_by
from reparax.reports import findings as room
from reparax.reports import study_of, write
from reparax.reports.findings import FINDERS, LIMITS, WIDE, Finding, _in_percent, _spread, findings_of
from reparax.reports.joint import Sides, told_apart, trained_on_synthetic, worst_pair
from reparax.summary import Column
from reparax.training import Record, late_rise, rise_at_end


def column(name, categories=()):
    kind = "categorical" if categories else "continuous"
    return Column(
        name=name, kind=kind, dtype="float64", low=0, high=1, mean=0, std=1, spread=1, categories=categories
    )  # fmt: skip


COLUMNS = (column("x"), column("y"), column("kind", ("a", "b", "c")))


def rows(count, seed):
    """y depends on x and on the kind."""
    rng = np.random.default_rng(seed)
    x, kind = rng.normal(size=count), rng.choice(3, count, p=[0.5, 0.3, 0.2])
    return np.column_stack([x, x + 2 * kind + rng.normal(size=count), kind]).astype(np.float64)


def sides(make):
    return Sides(rows(600, 0), make(rows(600, 1)), rows(400, 2), make(rows(400, 3)), "rows", True)


def independent(values):
    rng = np.random.default_rng(0)
    return np.column_stack([rng.permutation(cells) for cells in values.T])


def test_a_classifier_tells_only_what_differs():
    same = told_apart(sides(lambda values: values), COLUMNS, 0)
    assert same.low < 0.5 < same.high
    assert told_apart(sides(independent), COLUMNS, 0).value > 0.7
    assert told_apart(sides(lambda values: values + np.asarray([1, 1, 0])), COLUMNS, 0).low > 0.65
    again = told_apart(sides(independent), COLUMNS, 0)
    assert again == told_apart(sides(independent), COLUMNS, 0)


def test_a_classifier_sees_gaps_that_do_not_depend_on_the_row():
    def dependent(values):
        return np.column_stack([np.where(values[:, 2] == 0, np.nan, values[:, 0]), values[:, 1:]])

    def at_random(values):
        mark = np.random.default_rng(0).random(len(values)) < 0.5
        return np.column_stack([np.where(mark, np.nan, values[:, 0]), values[:, 1:]])

    real, made = sides(dependent), sides(at_random)
    both = replace(real, real=dependent(real.real), judged=dependent(real.judged), synthetic=made.synthetic,
                   invented=made.invented)  # fmt: skip
    assert told_apart(both, COLUMNS, 0).value > 0.7


def test_classifiers_take_any_columns():
    cities = tuple(map(str, range(5000)))
    columns = (column("none"), column("one"), column("city", cities), column("neither", ("a", "b")), column("x"))

    def make(count, seed):
        rng = np.random.default_rng(seed)
        gaps = np.full(count, np.nan)
        return np.column_stack([gaps, np.ones(count), rng.integers(0, 5001, count), gaps, rng.normal(size=count)])

    for sizes in ((200, 100), (3, 1)):
        some = Sides(*(make(sizes[k // 2], k) for k in (0, 1, 2, 3)), "rows", True)
        assert 0 <= told_apart(some, columns, 0).value <= 1
        trained = trained_on_synthetic(some, columns, None, 0)
        assert trained is None or (trained.names == ("x",) and np.isnan(trained.share))
    assert worst_pair(make(200, 0), make(200, 1), columns, 0).difference < 0.5


def test_classifiers_lose_what_the_rows_lost():
    kept = trained_on_synthetic(sides(lambda values: values), COLUMNS, None, 0)
    lost = trained_on_synthetic(sides(independent), COLUMNS, "kind", 0)
    assert abs(kept.loss) < 0.03
    assert kept.share == 0  # within the noise
    assert lost.loss > 0.2
    assert lost.share > 0.5
    assert lost.names == ("kind", "x", "y")
    assert lost.real[lost.worst] - lost.synthetic[lost.worst] >= lost.loss
    assert trained_on_synthetic(sides(lambda values: values * 0 + 1), COLUMNS, None, 0) is None


def test_the_worst_pair_is_named():
    real, made = rows(2000, 0), rows(2000, 1)
    good = worst_pair(real, made, COLUMNS, 0)
    assert good.difference < good.chance + 0.05
    made[:, 0] = np.random.default_rng(0).permutation(made[:, 0])
    pair = worst_pair(real, made, COLUMNS, 0)
    assert set(pair.names) == {"x", "y"}
    assert pair.difference > 0.3
    assert worst_pair(real * 0, made, COLUMNS, 0) is None


def with_history(fitted, bounds, status="all epochs done", gap=0.0):
    epochs = np.arange(1, len(bounds) + 1)
    history = [
        Record(float(epoch), 10 * int(epoch), {"bound": float(bound) + gap}, {"bound": float(bound)}, 1.0)
        for epoch, bound in zip(epochs, bounds, strict=True)
    ]
    recipe = rx.recipe.suggest(fitted.schema, 81, valid=0.1, latent_dim=4, width=4, warmup_epochs=0)
    return replace(fitted, history=history, status=status, recipe=recipe)


@pytest.fixture
def study_with(table, table_model):
    def make(bounds, **more):
        fitted = with_history(table_model, bounds, **more)
        return study_of(fitted, table, label=None, origin=None, num_samples=2, seed=0)

    return make


EPOCHS = np.arange(1, 101)


def test_still_improving_is_said_of_curves_that_rise_at_the_end(study_with):
    log, inverse, linear = 10 * np.log(EPOCHS), -100 / EPOCHS, EPOCHS * 1.0
    assert late_rise(study_with(log).fitted.history, 0)[0] == pytest.approx(np.log(4 / 3) / np.log(3), abs=0.02)
    assert late_rise(study_with(inverse).fitted.history, 0)[0] == pytest.approx((1 / 0.75 - 1) / (3 - 1), abs=0.02)
    for bounds, is_said in ((linear, True), (-50 * 0.9**EPOCHS, False), (linear * 0 - 1, False), (-linear, False)):
        said = [found for found in room.unfinished(study_with(bounds)) if "Still improving" in found.sentence]
        assert bool(said) is is_said, bounds
        assert all("--epochs 200" in found.cure for found in said)
        # The command line says the same where it writes no report.
        assert (rise_at_end(study_with(bounds).fitted.history, 0) is not None) is is_said
    assert room.unfinished(study_with(linear, status="stopped early")) == ()
    assert room.unfinished(study_with(linear, status="diverged"))[0].level == "poor"
    assert room.unfinished(study_with(linear[:2])) == ()
    overfitted = study_with(linear, gap=1000.0)
    assert room.overfitted(overfitted)
    assert room.unfinished(overfitted) == ()  # longer training would add to it


def test_overfitting_is_said_where_new_rows_are_much_less_probable(study_with):
    curve = -50 * 0.9**EPOCHS - 20
    small, study = study_with(curve, gap=0.01), study_with(curve, gap=1000.0)
    assert room.overfitted(small) == ()
    vars(study)["evaluation"] = small.evaluation  # computed once
    (found,) = room.overfitted(study)
    assert found.level == "poor"
    assert "overfitting" in found.sentence
    assert found.value == pytest.approx(1000)


def test_every_finder_speaks_in_sentences(table, table_model, pictures, make_model, tmp_path):
    for fitted, data in ((table_model, table), (make_model(pictures), pictures)):
        study = study_of(fitted, data, label=None, origin=None, num_samples=2, seed=0)
        found = findings_of(study)
        assert found
        write(study, tmp_path / "report.json")
        assert len(json.loads((tmp_path / "report.json").read_text())["findings"]) == len(found)
        for one in found:
            assert one.sentence.endswith(".")
            assert one.level in {"good", "fair", "poor", "unknown"}
            assert "nan" not in one.sentence + one.detail
            assert one.value is None or np.isfinite(one.value)
    assert all(limits.good < limits.fair and limits.reason for limits in LIMITS.values())
    assert LIMITS["worst pair"].level(float("nan")) == "unknown"


def test_one_more_finding_is_one_function(table, table_model, tmp_path, page_of, monkeypatch):
    new = Finding("The moon is made of cheese.", "moon", 1.0, "fair", "By eye.", "Look again.")
    monkeypatch.setattr(room, "FINDERS", (*FINDERS, lambda study: (new,)))
    rx.report(table_model, table, tmp_path / "report.html", num_samples=2)
    rx.report(table_model, table, tmp_path / "report.json", num_samples=2)
    assert "fair The moon is made of cheese. Look again. By eye." in page_of(tmp_path / "report.html").text
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert numbers["findings"][-1] == {
        "sentence": "The moon is made of cheese.", "measure": "moon", "value": 1.0, "level": "fair",
        "detail": "By eye.", "cure": "Look again.", "interval": None,
    }  # fmt: skip


def test_the_json_has_the_numbers_of_the_page(table, table_model, table_page, tmp_path, page_of):
    path = tmp_path / "report.json"
    rx.report(table_model, table, path, num_samples=4)
    numbers, text = json.loads(path.read_text(), parse_constant=pytest.fail), page_of(table_page).text
    for found in numbers["findings"]:
        assert found["sentence"] in text
    assert numbers["data"] == {"kind": "table", "examples": 90, "fitted": 81, "held_out": 9}
    assert numbers["evaluation"]["num_samples"] == 4
    study = study_of(table_model, table, label=None, origin=None, num_samples=4, seed=0)
    drawn = rx.sample(table_model, 5000, key=jax.random.key(0))
    weight = next(one["distance"] for one in numbers["columns"] if one["name"] == "weight")
    assert weight == pytest.approx(stats.ks_2samp(table["weight"].to_numpy(), drawn["weight"].to_numpy()).statistic)
    assert numbers["told_apart"]["value"] == study.told_apart.value
    assert study.trained is None
    assert numbers["trained_on_synthetic"] is None
    pair = max(numbers["associations"], key=lambda pair: abs((pair["real"] or 0) - (pair["synthetic"] or 0)))
    worst = numbers["worst_pair"]
    assert [sorted(pair["names"]), pair["real"]] == [sorted(worst["names"]), worst["real"]]
    numeric = next(p for p in numbers["associations"] if set(p["names"]) == {"weight", "count"})
    expected = abs(stats.spearmanr(table["weight"], table["count"]).statistic)
    assert numeric["real"] == pytest.approx(expected)
    assert numbers["privacy"]["membership"]["value"] == study.privacy.membership.value


def test_without_held_out_rows_it_says_what_cannot_be_known(table, make_model, tmp_path, page_of):
    rx.report(make_model(table, valid=0.0001), table, tmp_path / "held.html", num_samples=2)
    whole = make_model(table)
    other = study_of(whole, table.head(50), label=None, origin=None, num_samples=2, seed=0)
    (found,) = room.private(other)
    assert (found.value, found.level) == (None, "unknown")
    assert "--valid 0.1" in found.cure
    assert "some of which the fit may have seen" in other.sides.words
    assert len(other.sides.real) == len(other.sides.judged) == 25
    fitted = replace(whole, recipe=rx.plan(table, valid=0, latent_dim=4, width=4))
    fitted = known_by(fitted, dataset_of(fitted, table.head(81)))
    seen = study_of(fitted, table.head(81), label=None, origin=None, num_samples=2, seed=0)
    assert "which held out none" in seen.sides.words


def test_the_shares_of_a_column_are_those_of_the_rows_shown(table, table_model, table_page, page_of):
    text = page_of(table_page).text
    for kind, words in (("plain", "plain"), ("a & b", "a & b")):
        share = 100 * (table["kind"] == kind).mean()
        assert f"{words} {share:.0f} %" in text
    missing = table.to_series(0).null_count() / len(table)
    assert f"continuous {100 * missing:.2g} %" in text.replace("\u2009", " ")


@pytest.mark.parametrize("value", [0.0, 0.05, 0.4, 0.5, 0.93, 1.0])
@pytest.mark.parametrize(("below", "above"), [(0.01, 0.01), (0.2, 0.2), (0.04, 0.4), (0.4, 0.04)])
def test_intervals_are_said_as_they_are(value, below, above):
    measured = Measured(value, max(0.0, value - below), min(1.0, value + above))
    for said, scale in ((f"{value:.2f}{_spread(measured)}", 1), (_in_percent(measured), 100)):
        numbers = [float(number) / scale for number in re.findall(r"[\d.]+", said)]
        if measured.half_width < WIDE:
            assert numbers == pytest.approx([value], abs=0.005)
            continue
        ends = [numbers[0] - numbers[1], numbers[0] + numbers[1]] if "\u00b1" in said else numbers[1:]
        assert ends == pytest.approx([measured.low, measured.high], abs=0.03)
