"""Gradients and models of arrays need few libraries; what else is missing is said with the command that installs it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from reparax.errors import MissingExtra
from reparax.extras import EXTRA_OF, extras

ROOT = Path(__file__).resolve().parents[1]
BARE = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {set(EXTRA_OF)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import jax, numpy as np, numpyro.distributions as dist, reparax as rx
"""


def bare(code: str) -> str:
    """What code prints where no extra is installed."""
    done = subprocess.run([sys.executable, "-c", BARE + code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_gradients_and_models_of_arrays_need_no_extra(tmp_path):
    assert "done" in bare(f"""
value = jax.grad(lambda m: rx.expectation(lambda z: z**2, dist.Normal(m, 1.0), key=jax.random.key(0)))(1.0)
assert np.isfinite(value)
print(rx.explain(dist.Normal(0.0, 1.0)))
rows = np.random.default_rng(0).normal(size=(50, 3))
fitted = rx.fit(rows, likelihood="normal", epochs=1, width=4, depth=1)
rx.score(fitted, rows[:3]), rx.evaluate(fitted, rows[:3], num_samples=2), rx.encode(fitted, rows[:3])
rx.sample(fitted, 2, key=jax.random.key(0))
rx.save(fitted, {str(tmp_path / "model")!r})
rx.encode(rx.load({str(tmp_path / "model")!r}), rows)
print("done")
""")


@pytest.mark.parametrize(("code", "extra"), [
    ("rx.read('rows.csv')", "tables"), ("rx.VAE", "tables"), ("rx.AnomalyDetector", "tables"),
    ("rx.report(rx.fit(np.ones((9, 2)) * np.arange(9)[:, None], epochs=1), np.ones((3, 2)), 'x.html')", "report"),
    ("from reparax.cli import main; sys.exit(main(['--help']))", "cli"),
])  # fmt: skip
def test_what_is_missing_is_said_with_its_cure(code, extra, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n3,4\n")
    assert f"pip install 'reparax[{extra}]'" in bare(code)


def test_every_library_is_in_the_extra_that_is_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    distributions = {
        "sklearn": "scikit-learn",
        "PIL": "pillow",
        "mlflow": "mlflow-skinny",
        "dp_accounting": "dp-accounting",
    }
    for library, extra in EXTRA_OF.items():
        listed = [line.split(">")[0] for line in project["optional-dependencies"][extra]]
        assert distributions.get(library, library) in listed
    # Nothing of the extras cuda and kubernetes is imported by name: jax finds it; and Ray imports what is sent to it.
    assert set(EXTRA_OF.values()) | {"all", "cuda", "kubernetes", "ray"} == set(project["optional-dependencies"])


def test_other_missing_modules_stay_what_they_are():
    with pytest.raises(ModuleNotFoundError, match="no_such_module") as caught, extras():
        import no_such_module  # noqa: F401  # ty: ignore
    assert not isinstance(caught.value, MissingExtra)
