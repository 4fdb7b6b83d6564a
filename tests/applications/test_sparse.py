"""Models of sparse matrices: the same as of dense ones, without a dense matrix in memory."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from scipy import sparse

import reparax as rx
from reparax.cli.main import main
from reparax.errors import DataError

from ..data.test_sparse import write_h5ad

RNG = np.random.default_rng(1)
COUNTS = RNG.poisson(RNG.gamma(0.4, 1.0, (3, 60))[RNG.integers(0, 3, 300)])
SETTINGS = {"latent_dim": 3, "epochs": 3, "width": 16, "seed": 0}


@pytest.fixture(scope="module")
def fitted():
    return rx.fit(sparse.csr_array(COUNTS), **SETTINGS)


def test_a_fit_and_its_applications_are_those_of_the_dense_matrix(fitted, tmp_path):
    dense = rx.fit(COUNTS, **SETTINGS)
    assert fitted.recipe == dense.recipe
    for ours, theirs in zip(jax.tree.leaves(fitted.model), jax.tree.leaves(dense.model), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    rows = sparse.csr_array(COUNTS)
    # What one model says of rows does not depend on how they are stored, to the last bit.
    np.testing.assert_array_equal(rx.score(fitted, rows).log_density, rx.score(fitted, COUNTS).log_density)
    np.testing.assert_array_equal(rx.encode(fitted, rows), rx.encode(fitted, COUNTS))
    assert rx.evaluate(fitted, rows, num_samples=3) == rx.evaluate(fitted, COUNTS, num_samples=3)
    assert rx.reconstruct(fitted, rows).shape == (300, 60)
    rx.save(fitted, tmp_path / "model")
    again = rx.load(tmp_path / "model")
    np.testing.assert_array_equal(rx.encode(again, rows), rx.encode(fitted, rows))
    with pytest.raises(DataError, match="sparse"):
        rx.report(fitted, rows, tmp_path / "report.html")
    with pytest.raises(DataError, match="counts, as in training"):
        rx.encode(fitted, -rows)


def test_never_many_rows_are_dense_at_once(fitted, monkeypatch):
    made = []
    original = sparse.csr_array.toarray

    def counted(self, *args, **kwargs):
        made.append(self.shape[0])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(sparse.csr_array, "toarray", counted)
    many = sparse.csr_array(np.tile(COUNTS, (30, 1)))
    rx.encode(rx.fit(many, **(SETTINGS | {"epochs": 1})), many)
    assert made
    assert max(made) <= 2048 < many.shape[0]


def test_commands_on_a_file_with_batches(tmp_path, capsys):
    path, model = tmp_path / "cells.h5ad", tmp_path / "model"
    write_h5ad(path)
    options = ["--epochs", "2", "--latent-dim", "2", "--width", "8"]
    assert main(["fit", str(path), "--given", "batch", "--out", str(model), *options]) == 0
    assert "no report, as the data are sparse" in capsys.readouterr().err
    assert main(["encode", str(model), str(path), "--out", str(tmp_path / "codes.csv"), "--quiet"]) == 0
    assert main(["evaluate", str(model), str(path), "--held-out", "--samples", "2", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["num_examples"] == 5
    out = tmp_path / "new.npz"
    assert main(["sample", str(model), "--out", str(out), "-n", "4", "--where", "batch=1", "--quiet"]) == 0
    with np.load(out) as drawn:
        assert drawn["X"].shape == (4, 30)
        assert set(drawn["batch"].tolist()) == {1}
    assert main(["report", str(model), str(path), "--out", str(tmp_path / "report.html")]) == 2
    assert "sparse" in capsys.readouterr().err
    assert main(["fit", str(path), "--given", "donor", "--out", str(model), *options]) == 2
    assert "donor" in capsys.readouterr().err


PROGRAM = """
import resource, sys
import numpy as np
import reparax as rx
from scipy import sparse
rng = np.random.default_rng(0)
rows, columns, each = int(sys.argv[1]), 2000, 20
places = rng.integers(0, columns, rows * each)
matrix = sparse.csr_array((rng.integers(1, 5, rows * each), places, np.arange(rows + 1) * each), shape=(rows, columns))
fitted = rx.fit(matrix, epochs=1, latent_dim=2, width=8, batch_size=200, likelihood="poisson")
assert rx.encode(fitted, matrix).shape == (rows, 2)
rx.score(fitted, matrix[:2000], num_samples=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.full
def test_memory_for_more_rows_is_far_below_that_of_dense_ones():
    """60,000 rows more take 480 MB in float32 if they are dense; reading, training and encoding take a fifth of it."""
    few, many = (
        int(subprocess.run([sys.executable, "-c", PROGRAM, count], capture_output=True, check=True).stdout)
        for count in ("4000", "64000")
    )
    assert (many - few) * 1024 < 0.2 * 60_000 * 2000 * 4  # ru_maxrss is in KiB
