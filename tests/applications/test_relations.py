"""Models of tables whose columns follow from each other: densities, samples, imputations, scores and saved models."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.applications import _where, impute, impute_draws, sample_values, score
from reparax.cli import main
from reparax.data import fractions_held, read, related, relation_lines
from reparax.data.constraints import Unique
from reparax.errors import DataError, FewDraws, RecipeError, RowsNotFilled
from reparax.recipe import Units
from reparax.serving import Limits, operations
from reparax.tables import Layout, RowDistribution

ROWS = 500


def rides(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """Rides that end after they begin, whose total is a sum, whose borough is that of the zone; no tip in cash."""
    rng = np.random.default_rng(seed)
    zone = rng.choice([f"zone {i}" for i in range(8)], rows)
    start = np.datetime64("2024-03-01T00:00:00") + rng.integers(0, 30 * 86400, rows).astype("timedelta64[s]")
    seconds = rng.gamma(3, 300, rows).astype(np.int64)
    paid = rng.choice(["cash", "card"], rows)
    fare = np.round(2.5 + seconds / 120 + rng.gamma(2, 1, rows), 1)
    tip = np.where(paid == "cash", 0.0, np.round(rng.gamma(2, 1, rows), 2))
    return pl.DataFrame(
        {
            "start": start.astype("datetime64[us]"),
            "end": (start + seconds.astype("timedelta64[s]")).astype("datetime64[us]"),
            "zone": zone,
            "borough": np.array(["north", "south"])[[int(name.split()[1]) % 2 for name in zone]],
            "paid": paid,
            "fare": fare,
            "tip": tip,
            "total": np.round(fare + tip, 2),
        }
    )


TABLE = rides()
QUICK = {"epochs": 40, "latent_dim": 3, "width": 32, "learning_rate": 3e-3, "seed": 1, "hide": 0.5}


@pytest.fixture(scope="module")
def fitted():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return rx.fit(TABLE, **QUICK)


def test_relations_are_found_in_the_fit(fitted):
    by_child = {relation.child: set(relation.parents) for relation in fitted.schema.relations}
    assert by_child == {"end": {"start"}, "borough": {"zone"}, "total": {"fare", "tip"}}
    assert fitted.recipe.relations == "found"


def test_they_hold_in_samples(fitted):
    rows = sample_values(fitted, 3000, key=jax.random.key(0))
    assert min(fractions_held(fitted.schema, rows)) == 1.0
    frame = rx.sample(fitted, 3000, key=jax.random.key(0))
    assert (frame["end"] >= frame["start"]).all()
    assert ((frame["fare"] + frame["tip"] - frame["total"]).abs() < 1e-6).all()
    assert frame.filter((pl.col("paid") == "cash") & (pl.col("tip") > 0)).is_empty()
    assert set(frame.select("zone", "borough").unique().rows()) <= set(TABLE.select("zone", "borough").unique().rows())
    seconds = [(one["end"] - one["start"]).dt.total_seconds().to_numpy() for one in (frame, TABLE)]
    assert np.median(seconds[0]) == pytest.approx(np.median(seconds[1]), rel=0.15)
    assert frame.schema == TABLE.schema


def test_the_same_key_gives_the_same_rows(fitted):
    first, second = (sample_values(fitted, 300, key=jax.random.key(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_condition_is_met_along_with_the_relations(fitted):
    frame = rx.sample(fitted, 400, key=jax.random.key(1), where={"borough": "north", "paid": "cash"})
    assert (frame["borough"] == "north").all()
    assert (frame["tip"] == 0).all()
    zones = set(TABLE.filter(pl.col("borough") == "north")["zone"])
    assert set(frame["zone"]) <= zones


@pytest.mark.parametrize("hidden", [("end",), ("start",), ("zone",), ("fare",), ("total", "tip"), ("start", "zone")])
def test_imputed_cells_agree_with_the_known_ones(fitted, hidden):
    gaps = TABLE.head(60).with_columns(pl.lit(None, TABLE.schema[name]).alias(name) for name in hidden)
    for filled in (impute(fitted, gaps, num_samples=20), *impute_draws(fitted, gaps, 2, num_samples=20)):
        known = [name for name in TABLE.columns if name not in hidden]
        assert filled.select(known).equals(TABLE.head(60).select(known))
        assert (filled["end"] >= filled["start"]).all()
        assert ((filled["fare"] + filled["tip"] - filled["total"]).abs() < 0.011).all()
        assert hidden != ("fare",) or filled["fare"].equals(filled["fare"].round(1))  # without an error of a mean
        pairs = set(TABLE.select("zone", "borough").unique().rows())
        assert set(filled.select("zone", "borough").unique().rows()) <= pairs


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"total": 12.5, "fare": 10, "tip": 1.5}, "can occur together: total is .*; leave one of total, "),
        ({"borough": "north", "zone": "zone 1"}, "can occur together: borough follows from zone"),
        ({"start": "2024-03-10 12:00", "end": "2024-03-10 11:59"}, "end is not below start"),
        ({"total": 12.503}, "multiples of 0.01; got '12.503'; use 12.5 or 12.51"),
        ({"fare": 7.55}, "multiples of 0.1; got '7.55'"),
        ({"total": 0.5}, "too rare"),
    ],
)
def test_what_cannot_be_is_refused(fitted, where, words):
    with pytest.raises(DataError, match=words):
        rx.sample(fitted, 10, key=jax.random.key(0), where=where)


def compared(fitted, where: dict, draws: pl.DataFrame, statistics: list[pl.Expr]) -> None:
    """Conditional draws against unconditional ones that meet the condition: means within five standard errors."""
    drawn = rx.sample(fitted, 2000, key=jax.random.key(8), where=where)
    for name, value in where.items():
        assert (drawn[name] == value).all()
    for statistic in statistics:
        one, other = (rows.select(statistic.cast(pl.Float64).alias("x"))["x"] for rows in (drawn, draws))
        # Rows that share a latent variable are not independent: a quarter of the conditional ones are counted.
        error = np.sqrt(one.var() / (len(one) / 4) + other.var() / len(other))
        assert abs(one.mean() - other.mean()) <= 5 * error + 1e-3, (where, str(statistic), one.mean(), other.mean())


@pytest.mark.full
def test_rows_with_a_known_child_are_those_that_happen_to_have_it(fitted):
    draws = rx.sample(fitted, 100_000, key=jax.random.key(7))
    fare, cash = pl.col("fare"), pl.col("paid") == "cash"
    compared(fitted, {"total": 9.0}, draws.filter((pl.col("total") - 9.0).abs() < 1e-6), [fare, cash])
    compared(
        fitted, {"borough": "north"}, draws.filter(pl.col("borough") == "north"), [fare, pl.col("zone") == "zone 2"]
    )


def test_imputed_parents_are_in_the_range_of_the_fit(fitted):
    gaps = TABLE.head(80).with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("fare", "tip"))
    for filled in (impute(fitted, gaps, num_samples=50), *impute_draws(fitted, gaps, 2, num_samples=50)):
        for name in ("fare", "tip"):
            assert filled[name].min() >= TABLE[name].min() - 1e-6
            assert filled[name].max() <= TABLE[name].max() + 1e-6
        assert ((filled["fare"] + filled["tip"] - filled["total"]).abs() < 1e-6).all()


@pytest.fixture(scope="module")
def stated(fitted):
    """The same fit, as if the user had stated what was found."""
    relations = tuple(msgspec.structs.replace(each, stated=True) for each in fitted.schema.relations)
    return replace(fitted, schema=msgspec.structs.replace(fitted.schema, relations=relations))


@pytest.fixture(scope="module")
def impossible():
    """Rows without their fare and tip, of which six have a total that follows from no fare and tip."""
    total = pl.when(pl.int_range(pl.len()).is_in([1, 4, 5, 7, 8, 11])).then(-500.0).otherwise(pl.col("total"))
    return TABLE.head(12).with_columns(total.alias("total"), fare=pl.lit(None, pl.Float64), tip=None)


def test_rows_that_break_what_was_found_are_imputed_without_it(fitted, impossible):
    """What holds in nearly all rows is no law: one row must not stop the imputation of a table."""
    for filled in (impute(fitted, impossible, num_samples=20), *impute_draws(fitted, impossible, 2, num_samples=20)):
        assert filled.null_count().sum_horizontal().item() == 0
        assert filled.select("zone", "total").equals(impossible.select("zone", "total"))
        for name in ("fare", "tip"):
            assert filled[name].is_between(TABLE[name].min() - 1e-6, TABLE[name].max() + 1e-6).all()


def test_all_impossible_rows_are_named_at_once(stated, impossible):
    named = (
        r"6 of 12 rows \(row 2 \(total=-500\), row 5 \(total=-500\), .*, row 9 \(total=-500\) and 1 more\) for which"
    )
    with pytest.raises(DataError, match=named):
        impute(stated, impossible, num_samples=20)
    with pytest.raises(DataError, match="--impossible leave"):
        impute_draws(stated, impossible, 2, num_samples=20)
    with pytest.raises(RecipeError, match="impossible to be refuse or leave"):
        impute(stated, impossible, impossible="keep")


@pytest.mark.parametrize(
    "form",
    [
        pl.DataFrame.clone,
        pytest.param(pl.DataFrame.to_pandas, marks=pytest.mark.full),
        pytest.param(pl.DataFrame.to_arrow, marks=pytest.mark.full),
    ],
)
def test_impossible_rows_may_keep_their_gaps(stated, impossible, form):
    for function, more in ((impute, ()), (impute_draws, (2,))):
        with pytest.warns(RowsNotFilled, match=r"6 of 12 rows \(row 2 .* keep their gaps") as caught:
            found = function(stated, form(impossible), *more, num_samples=20, impossible="leave")
        assert caught[0].message.num_cells == 12
        assert caught[0].filename == __file__
        for filled in found if more else [found]:
            rows = pl.from_pandas(filled) if hasattr(filled, "iloc") else pl.DataFrame(filled)
            kept = impossible["total"] == -500
            assert rows.filter(kept)["fare"].is_null().all()
            assert rows.filter(kept)["tip"].is_null().all()
            assert rows.filter(~kept).null_count().sum_horizontal().item() == 0
            assert rows.select("zone", "total").equals(impossible.select("zone", "total"))


@pytest.mark.parametrize("memory", [pytest.param((), marks=pytest.mark.full), ("--memory", "0.1KB")])
def test_the_command_line_says_which_rows_keep_their_gaps(stated, impossible, tmp_path, capsys, memory):
    rx.save(stated, tmp_path / "model")
    impossible.with_columns(pl.col("tip").cast(pl.Float64)).write_parquet(tmp_path / "gaps.parquet", row_group_size=6)
    command = ["impute", str(tmp_path / "model"), str(tmp_path / "gaps.parquet"), "-o", str(tmp_path / "out.csv")]
    command += ["--samples", "20", *memory]
    assert main(command) == 2
    rows = (impossible["total"] == -500).arg_true() + 1
    named = f"6 of 12 rows ({', '.join(f'row {row} (total=-500)' for row in rows[:5])} and 1 more)"
    assert named in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"model", "gaps.parquet"}
    assert main([*command, "--impossible", "leave"]) == 0
    err = capsys.readouterr().err
    assert err.count("keep their gaps, as no values") == err.count(named) == 1
    assert "out.csv: 12 cells filled" in err
    found = pl.read_csv(tmp_path / "out.csv")
    assert (found["fare"].is_null() == (impossible["total"] == -500)).all()


def test_a_request_says_which_rows_keep_their_gaps(stated, impossible):
    rows = json.loads(impossible.write_json())

    def asked(**options):
        body = json.dumps({"rows": rows, "samples": 20, **options}).encode()
        work = operations.work_of(stated, Limits(), "impute", body, {}, is_arrow=False)
        return json.loads(operations.written(stated, operations.compute(stated, [work])[0], (), as_arrow=False))

    with pytest.raises(DataError, match="6 of 12 rows"):
        asked()
    answer = asked(impossible="leave")
    assert answer["notes"][0].startswith("6 of 12 rows (row 2 (total=-500)")
    assert [row["fare"] is None for row in answer["rows"]] == (impossible["total"] == -500).to_list()
    with pytest.raises(DataError, match="impossible"):
        asked(impossible="keep")


@pytest.mark.full
def test_sums_of_numbers_and_of_counts_have_the_parents_of_unconditional_draws():
    rng = np.random.default_rng(0)
    first, second = (np.round(rng.gamma(2, 10, 2000), 2) for _ in range(2))
    fitted = rx.fit(pl.DataFrame({"a": first, "b": second, "s": np.round(first + second, 2)}), epochs=30, latent_dim=2)
    draws = rx.sample(fitted, 400_000, key=jax.random.key(7))
    for value, width in ((10.0, 0.2), (40.0, 0.1)):
        near = draws.filter((pl.col("s") - value).abs() < width)
        compared(fitted, {"s": value}, near, [pl.col("a"), pl.col("a") < value / 4, pl.col("b") < 0])
    group = rng.choice(["p", "q"], 2000, p=[0.1, 0.9])
    x, k = np.where(group == "p", rng.poisson(6, 2000), rng.poisson(2, 2000)), rng.integers(0, 8, 2000)
    fitted = rx.fit(pl.DataFrame({"x": x, "k": k, "g": group, "s": x + k}), epochs=30, latent_dim=2)
    draws = rx.sample(fitted, 400_000, key=jax.random.key(7))
    is_p = pl.col("g") == "p"
    for where in ({"s": 9, "k": 3}, {"s": 4}, {"s": 12}, {"x": 6, "k": 3}):
        met = draws.filter(*(pl.col(name) == value for name, value in where.items()))
        compared(fitted, where, met, [is_p, pl.col("k"), pl.col("x")])


def test_a_row_that_breaks_a_relation_is_anomalous(fitted):
    broken = TABLE.head(40).with_columns(
        pl.col("start").alias("end"), pl.col("end").alias("start"), (pl.col("total") + 3).alias("total")
    )
    scores = score(fitted, pl.concat([TABLE, broken]), num_samples=10)
    assert scores.anomaly_score[ROWS:].min() > np.quantile(scores.anomaly_score[:ROWS], 0.95)
    assert scores.shares.shape == (ROWS + 40, TABLE.width)
    np.testing.assert_allclose(scores.shares.sum(axis=1), scores.anomaly_score, rtol=1e-4)


def test_evaluation_is_by_column_of_the_table(fitted):
    assert set(rx.evaluate(fitted, TABLE, num_samples=5).columns) == set(TABLE.columns)


def test_saved_and_loaded(fitted, tmp_path):
    rx.save(fitted, tmp_path / "model")
    loaded = rx.load(tmp_path / "model")
    assert loaded.schema == fitted.schema
    np.testing.assert_array_equal(
        sample_values(loaded, 200, key=jax.random.key(3)), sample_values(fitted, 200, key=jax.random.key(3))
    )


def test_they_can_be_turned_off():
    none = rx.fit(TABLE.select("fare", "tip", "total"), **{**QUICK, "epochs": 2, "hide": 0.0}, relations="none")
    assert not none.schema.relations
    assert not none.schema.constraints
    with pytest.raises(RecipeError, match="columns likelihood"):
        rx.fit(TABLE.select("fare", "total").to_numpy(), epochs=1, likelihood="normal", relations="found")


@pytest.mark.parametrize("memory", [None, 1])
def test_data_without_columns_have_none(memory, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(40 * 9, dtype=np.uint8).reshape(40, 3, 3))
    data = rx.read(tmp_path / "x.npy") if memory is None else rx.data.opened(tmp_path / "x.npy", memory=memory)
    with pytest.raises(
        RecipeError, match="expected a table, to keep relations between its columns; got data of kind images"
    ):
        rx.fit(data, epochs=1, relations="found")


def test_stated_relations_hold_in_every_row():
    stated = {
        "end": {"after": "start"},
        "fare": {"range": [5, None]},
        "total": {"sum": ["fare", "tip"]},
        "zone": {"with": ["paid"]},
    }
    table = TABLE.filter((pl.col("fare") >= 5) & ~((pl.col("zone") == "zone 1") & (pl.col("paid") == "cash")))
    fitted = rx.fit(read(table, schema=stated), **{**QUICK, "epochs": 2, "hide": 0.0}, relations="stated")
    rows = sample_values(fitted, 2000, key=jax.random.key(0))
    assert fitted.schema.holds(rows).all()
    assert all(line.stated for line in relation_lines(fitted.schema))
    assert fractions_held(fitted.schema, rows) == [1.0] * 4
    # No two rows can differ in a column of two values.
    unique = Unique(("paid",))
    impossible = replace(fitted, schema=msgspec.structs.replace(fitted.schema, constraints=(unique,)))
    with pytest.raises(DataError, match="meet what the schema states"):
        rx.sample(impossible, 400, key=jax.random.key(0))


@pytest.mark.parametrize("seed", range(3))
def test_the_density_of_a_child_given_its_parents_integrates_to_one(seed):
    """Over all totals of a row with the same fare, the density of the row is that of the row without its total."""
    rng = np.random.default_rng(seed)
    fare = np.round(rng.gamma(3, 4, ROWS), 1)
    table = pl.DataFrame(
        {"fare": fare, "total": np.round(fare + rng.gamma(2, 1, ROWS), 1), "paid": rng.choice(["a", "b"], ROWS)}
    )
    schema = read(table, schema={"total": {"after": "fare"}}).schema
    units = Units.of(schema)
    layout = Layout.of_summary(units.summary)
    law = RowDistribution(0.5 * jax.random.normal(jax.random.key(seed), (layout.num_parameters,)), layout)
    totals = np.arange(-20_000, 20_000) * 0.1
    rows = np.stack([np.full(len(totals), fare[seed]), totals, np.zeros(len(totals))], axis=1)
    log_prob = jax.jit(jax.vmap(law.log_prob))
    inside = np.asarray(log_prob(jnp.asarray(units.stored(rows))), np.float64)
    without = np.array([[fare[seed], np.nan, 0.0]])
    (base,) = np.asarray(log_prob(jnp.asarray(units.stored(without))), np.float64)
    assert np.exp(inside - base).sum() * 0.1 == pytest.approx(1, abs=1e-3)
    # Where the fare is missing, the total has a density of its own.
    totals = np.arange(-30_000, 60_000) * 0.01  # its density is not one of rounded numbers
    alone = np.stack([np.full(len(totals), np.nan), totals, np.zeros(len(totals))], axis=1)
    inside = np.asarray(log_prob(jnp.asarray(units.stored(alone))), np.float64)
    nothing = np.array([[np.nan, np.nan, 0.0]])
    (base,) = np.asarray(log_prob(jnp.asarray(units.stored(nothing))), np.float64)
    assert np.exp(inside - base).sum() * 0.01 == pytest.approx(1, abs=1e-3)


def test_what_categories_have_in_common_is_a_parameter_of_its_own():
    """The logit of a borough moves its zones together, and by as much as the borough itself."""
    dataset = read(TABLE)
    schema = related(dataset.schema, dataset.values, find=True)
    layout = Layout.of_summary(Units.of(schema).summary)
    names = [column.name for column in schema.columns]
    zone, borough = names.index("zone"), names.index("borough")
    (categories,) = (family for family in layout.families if borough in family.columns)
    moved = jnp.zeros(layout.num_parameters).at[categories.logits_of(borough, 2)[0]].set(2.0)
    rows = np.full((8, layout.size), np.nan, np.float32)
    rows[:, zone] = np.arange(8)
    probabilities = np.exp([float(RowDistribution(moved, layout).log_prob_of_cells(row)) for row in rows])
    before = np.exp([float(RowDistribution.of_data(layout).log_prob_of_cells(row)) for row in rows])
    implied = next(each.implied for each in Units.of(schema).summary.remainders if each.child == borough)
    first = np.asarray(implied) == 0
    ratio = probabilities / before
    np.testing.assert_allclose(ratio[first], ratio[first][0], rtol=1e-4)
    np.testing.assert_allclose(ratio[~first], ratio[~first][0], rtol=1e-4)
    assert ratio[first][0] / ratio[~first][0] == pytest.approx(np.exp(2.0), rel=1e-2)


@pytest.mark.parametrize(("where", "most"), [({"fare": 30.0}, "32,768"), ({"total": 25.0}, "8,192")])
def test_more_draws_are_proposed_while_few_meet_a_condition(fitted, monkeypatch, where, most):
    """And if they remain few, this is said."""
    monkeypatch.setattr(_where, "PROPOSALS", 2048)
    monkeypatch.setattr(_where, "PROPOSALS_TO_SOLVE", 2048)
    monkeypatch.setattr(_where, "MIN_EFFECTIVE", 2.0)
    with pytest.warns(FewDraws, match=f"an effective number of .* of {most} draws .*: the 300 rows come from so few"):
        drawn = rx.sample(fitted, 300, key=jax.random.key(1), where=where)
    for name, value in where.items():
        assert (drawn[name] == value).all()


def test_draws_of_more_rounds_stay_with_their_member(fitted):
    """Of an ensemble, the draws of one member come after those of another."""
    both = replace(fitted, others=(fitted,))

    def of_round(number: int) -> _where._Proposals:
        marks, used = 10.0 * np.repeat([0, 1], 3) + number, np.full(3, number)
        return _where._Proposals(both, np.zeros((1, 8)), marks, 3, used[:, None], used, marks, None)

    whole = of_round(1).joined(of_round(2))
    assert whole.z.tolist() == whole.log_weights.tolist() == [1, 1, 1, 2, 2, 2, 11, 11, 11, 12, 12, 12]
    assert whole.per_member == 6
    assert whole.used.tolist() == whole.contexts[:, 0].tolist() == [1, 1, 1, 2, 2, 2]
