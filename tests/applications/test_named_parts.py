"""Parts of your own by name, ``module:Class``: fitted, saved, loaded only with permission, and with every verb."""

import contextlib
import hashlib
import json
import sys
import textwrap

import numpy as np
import pytest

import reparax as rx
from reparax.artifact import NO_CHECKSUM
from reparax.cli import main
from reparax.errors import ArtifactError, RecipeError, ReparaxError

ROWS = np.random.default_rng(0).normal(size=(80, 1)) @ np.array([[1.0, -2.0, 0.5]]) + 0.1
CODE = """
    from typing import ClassVar

    import jax.numpy as jnp
    import numpyro.distributions as dist

    from reparax.parts import option
    from reparax.posteriors import AbstractFamily


    class Stretched(AbstractFamily):
        \"\"\"A Normal of one scale for all dimensions.\"\"\"

        latent_space: ClassVar = "real"
        default_prior: ClassVar[str] = "standard-normal"
        scale: float = option(0.5, low=0.01, high=10)

        def num_outputs(self, latent_dim):
            return latent_dim

        def distribution(self, outputs, latent_dim):
            return dist.Normal(outputs, jnp.full(latent_dim, self.scale)).to_event(1)


    class NoPart:
        pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in the working folder whose import leaves a trace."""
    name = f"parts_of_{abs(hash(str(tmp_path))) % 10**9}"
    trace = f"open({str(tmp_path / 'imported')!r}, 'w').close()\n"
    (tmp_path / f"{name}.py").write_text(trace + textwrap.dedent(CODE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    np.savetxt("rows.csv", ROWS, delimiter=",", header="a,b,c", comments="")
    yield name
    sys.modules.pop(name, None)


def small(module, **more):
    posterior = {"name": f"{module}:Stretched", "scale": 0.25}
    return rx.fit("rows.csv", posterior=posterior, latent_dim=2, width=8, depth=1, epochs=2, hide=0.0, **more)


def test_a_named_part_with_options_is_fitted_saved_and_loaded_only_with_permission(module, tmp_path):
    fitted = small(module)
    assert fitted.recipe.posterior == {"name": f"{module}:Stretched", "scale": 0.25}
    np.testing.assert_allclose(rx.encode_std(fitted, "rows.csv"), 0.25, rtol=1e-6)
    rx.save(fitted, "model")
    codes = rx.encode(fitted, "rows.csv")
    sys.modules.pop(module)
    (tmp_path / "imported").unlink()
    with pytest.raises(ArtifactError, match=f"allow=.*{module}"):
        rx.load("model")
    assert not (tmp_path / "imported").exists()
    np.testing.assert_array_equal(rx.encode(rx.load("model", allow=[module]), "rows.csv"), codes)
    assert (tmp_path / "imported").exists()


def test_an_instance_or_a_class_is_as_good_as_its_name(module):
    kind = __import__(module).Stretched
    for posterior in (kind(scale=0.25), kind):
        fitted = rx.fit("rows.csv", posterior=posterior, latent_dim=2, width=8, depth=1, epochs=1, hide=0.0)
        assert rx.encode_std(fitted, "rows.csv")[0, 0] == pytest.approx(0.25 if posterior is not kind else 0.5)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("{}:Missing", "has no such class"),
        ("no_such_module_here:X", "no module"),
        ("{}:NoPart", "subclass"),
        ("os:system", "subclass"),
    ],
)
def test_what_is_no_part_is_refused(module, name, match):
    with pytest.raises(RecipeError, match=match):
        rx.fit("rows.csv", posterior=name.format(module), epochs=1)


def test_options_of_a_named_part_are_checked(module):
    with pytest.raises(RecipeError, match="scale"):
        rx.fit("rows.csv", posterior={"name": f"{module}:Stretched", "scale": -1}, epochs=1)
    with pytest.raises(RecipeError, match="scael"):
        rx.fit("rows.csv", posterior={"name": f"{module}:Stretched", "scael": 1}, epochs=1)


@pytest.mark.full  # tests/test_adding_a_part.py runs every command on other parts
def test_every_verb_works_on_such_a_model(module, capsys):
    posterior = json.dumps({"name": f"{module}:Stretched", "scale": 0.3})
    small_model = ["--latent-dim", "2", "--width", "8", "--depth", "1", "--epochs", "2"]
    assert main(["fit", "rows.csv", "--out", "model", "--posterior", posterior, *small_model]) == 0
    allow = ["--allow", module]
    for words in (
        ["encode", "model", "rows.csv", "--out", "codes.csv"],
        ["reconstruct", "model", "rows.csv", "--out", "means.csv"],
        ["sample", "model", "--count", "5", "--out", "samples.csv"],
        ["impute", "model", "rows.csv", "--out", "filled.csv"],
        ["score", "model", "rows.csv", "--out", "scores.csv", "--samples", "5"],
        ["evaluate", "model", "rows.csv", "--samples", "5"],
        ["report", "model", "rows.csv", "--samples", "5"],
    ):
        sys.modules.pop(module, None)
        assert main(words) == 2, words
        assert f"--allow {module}" in capsys.readouterr().err
        assert main([*words, *allow]) == 0, (words, capsys.readouterr().err)
    assert main(["info", "model"]) == 0
    assert "Stretched" in capsys.readouterr().out


@pytest.mark.parametrize("field", ["posterior", "prior", "likelihood", "network", "objective", "estimator"])
def test_a_folder_from_a_stranger_imports_nothing(module, tmp_path, field):
    """Whatever field of a recipe names a module, and with whatever command the folder is used."""
    rx.save(rx.fit("rows.csv", latent_dim=2, width=8, depth=1, epochs=1, hide=0.0), "model")
    (tmp_path / "imported").unlink(missing_ok=True)
    file = tmp_path / "model" / "model.json"
    content = json.loads(file.read_text())
    name = f"{module}:Stretched"
    content["recipe"]["objective" if field == "estimator" else field] = (
        {"name": "elbo", "estimator": name} if field == "estimator" else name
    )
    content["checksum"] = NO_CHECKSUM
    text = json.dumps(content, indent=1).encode() + b"\n"
    file.write_bytes(text.replace(NO_CHECKSUM.encode(), hashlib.sha256(text).hexdigest().encode()))
    for words in (["info", "model"], ["encode", "model", "rows.csv", "--out", "codes.csv"],
                  ["evaluate", "model", "rows.csv", "--samples", "2"],
                  ["report", "model", "rows.csv", "--samples", "2", "--out", "page.html"]):  # fmt: skip
        main(words)
        assert not (tmp_path / "imported").exists(), words
    with contextlib.suppress(ReparaxError):
        print(rx.explain(rx.load("model")))
    assert not (tmp_path / "imported").exists()
