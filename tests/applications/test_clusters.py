"""Scores and codes of Parquet files by Ray and Dask: the numbers of one process.

Neither is among the packages that CI installs; ``pip install ".[ray]" "dask[dataframe]"`` runs these tests.
"""

import functools

import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax import applications

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore")]  # those of the clusters
ROWS, FILES = 1200, 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of Parquet files with words, gaps and identifiers, and one of a model."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("cluster")
    x = rng.normal(size=ROWS)
    table = pl.DataFrame({"id": np.arange(ROWS), "x": x, "word": rng.choice(["a", "b"], ROWS)})
    table = table.with_columns(gap=pl.when(pl.col("x") > 0).then(pl.col("x") ** 2))
    (folder / "rows").mkdir()
    for number, part in enumerate(table.iter_slices(ROWS // FILES)):
        part.write_parquet(folder / "rows" / f"{number}.parquet")
    small = {"width": 8, "depth": 1, "latent_dim": 2, "epochs": 1, "prior": "standard-normal"}
    rx.save(rx.fit(rx.read(table, exclude=["id"]), **small), folder / "model")
    return table, str(folder / "rows"), str(folder / "model")


def test_ray_with_two_workers(folders, tmp_path):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    data = pytest.importorskip("ray.data", reason="Ray Data is not installed")
    table, rows, model = folders
    score = applications.ScoreBatches(model, num_samples=5, keep=("id",))
    encode = applications.EncodeBatches(model, keep=("id",))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        data.read_parquet(rows).map_batches(score, batch_format="pyarrow", batch_size=100).write_parquet(
            str(tmp_path / "scores")
        )
        codes = data.read_parquet(rows).map_batches(encode, batch_format="pyarrow").to_pandas()
    finally:
        ray.shutdown()
    fitted = rx.load(model)
    expected = rx.score(fitted, table, num_samples=5)
    found = pl.read_parquet(tmp_path / "scores" / "*.parquet").sort("id")
    np.testing.assert_array_equal(found["anomaly_score"], expected.anomaly_score)
    np.testing.assert_array_equal(found["log_density"], expected.log_density)
    np.testing.assert_array_equal(codes.sort_values("id")[["z0", "z1"]], rx.encode(fitted, table))


def _of_partition(score, part):
    import pyarrow as pa

    return score(pa.Table.from_pandas(part, preserve_index=False)).to_pandas()


def test_dask_with_two_processes(folders):
    frames = pytest.importorskip("dask.dataframe", reason="Dask is not installed")
    table, rows, model = folders
    score = functools.partial(_of_partition, applications.ScoreBatches(model, num_samples=5, keep=("id",)))
    none = score(table.head(0).to_pandas())
    scored = frames.read_parquet(rows).map_partitions(score, meta=none)
    found = scored.compute(scheduler="processes", num_workers=2).sort_values("id")
    expected = rx.score(rx.load(model), table, num_samples=5)
    np.testing.assert_array_equal(found["anomaly_score"], expected.anomaly_score)
