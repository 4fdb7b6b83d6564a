"""The names of the package: what Python imports, what the stubs say, and what a type checker makes of calls."""

import ast
import inspect
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import reparax as rx
from reparax import registry
from reparax.recipe import Chosen, Recipe, Settings

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "reparax"
CHECKER = Path(sys.executable).with_name("ty")

OPTIONS = {
    option.name
    for room in registry.ROOM_OF.values()
    for name in registry.names(room)
    for option in registry.options(room, name)
}
FLAT_OPTIONS = OPTIONS - set(inspect.signature(Recipe).parameters) - {"warmup_steps"}
"""Options of parts that may be given without their part's name; a warm-up is counted in epochs."""

RIGHT = """\
import jax

import reparax as rx

version: str = rx.__version__
fitted: rx.FittedModel = rx.fit("x.csv")
fitted = rx.fit("x.csv", latent_dim=3, beta=4.0, prior="vamp", binarize="none", seed=None)
fitted = rx.fit("x.csv", prior={"name": "normal-mixture", "num_components": 6}, objective="iwae", num_samples=8)
fitted = rx.fit("x.csv", model=fitted.model, objective=rx.objectives.ELBO())
recipe: rx.Recipe = rx.plan("x.csv", objective="elbo", learning_rate=1, epochs=5)
drawn = rx.sample(fitted, 3, key=jax.random.key(0), where={"sex": "F"}, like="pandas")
scores: rx.applications.Scores = rx.score(fitted, "x.csv", num_samples=10, seed=1)
bound: float | None = rx.evaluate(fitted, "x.csv").iwae
rx.save(fitted, "model")
fitted = rx.load("model")
codes = rx.VAE(latent_dim=2).fit([[1.0]]).transform([[1.0]]).mean(axis=0)
vae = rx.VAE(prior="vamp", beta=0.5, gradient_estimator="pathwise", objective=rx.objectives.ELBO(), trim=None)
labels = rx.AnomalyDetector(contamination=0.1, width=64, exclude=["id"]).fit_predict([[1.0]])
value = rx.rsample(rx.distributions.LogGamma(jax.numpy.ones(2)), jax.random.key(0))
posterior: rx.posteriors.AbstractPosterior = rx.posteriors.Categorical(num_classes=5)
prior: rx.priors.NormalMixture = rx.priors.NormalMixture(num_components=6)
likelihood: rx.likelihoods.AbstractLikelihood = rx.likelihoods.Columns()
network: rx.networks.MLP = rx.networks.MLP(width=64, depth=1)
estimator: rx.estimators.AbstractEstimator = rx.estimators.REBAR(temperature=0.5)
fitted = rx.fit("x.csv", posterior=posterior, prior=prior, objective=rx.objectives.ELBO(beta=2.0))
try:
    rx.read("x.csv")
except rx.errors.DataError as error:
    print(error.cure)
"""

WRONG = """\
import reparax as rx

fitted = rx.fit("x.csv")
rx.fitt("x.csv")  # a name that is not there
rx.fit("x.csv", latent_dimm=3)  # a setting that is not there
rx.plan("x.csv", latent_dimm=3)
rx.fit("x.csv", latent_dim="three")  # a setting of another type
rx.fit("x.csv", latent_dim=2.5)
rx.fit("x.csv", beta="strong")
rx.plan("x.csv", binarize="sometimes")
rx.plan("x.csv", epochs=[1])
rx.fit("x.csv", model="mlp")
rx.fit()  # an argument too few
rx.sample(fitted)
rx.sample(fitted, 3)
rx.sample(fitted, 3, key=0)  # a seed is no key
rx.encode("model", "x.csv")  # a folder is no fitted model
count: int = rx.fit("x.csv")  # a result of another type
rx.evaluate(fitted, "x.csv").iwea
rx.VAE(latent_dimm=3)
rx.VAE(latent_dim="x")
rx.VAE(exclude=3)
rx.VAE(seed=1)  # to scikit-learn, random_state
rx.AnomalyDetector(trim="much")
rx.AnomalyDetector(contaminaton=0.1)
rx.poster
rx.errors.DateError
rx.data.red("x.csv")
rx.posteriors.Beto()  # a part that is not there
rx.priors.StandardNormals
rx.posteriors.Beta(concentration=2.0)  # an option that is not there
rx.priors.NormalMixture(num_component=6)
rx.networks.MLP(width="wide")  # an option of another type
rx.objectives.ELBO(beta="strong")
rx.estimators.RELAX()  # an option without a default
mixture: rx.priors.NormalMixture = rx.posteriors.NormalMixture()  # a part of another kind
"""


def public_names(path):
    """The names that a stub gives to others: ``from ... import name as name`` and annotated names."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.asname == alias.name)
        if isinstance(node, ast.AnnAssign):
            yield ast.unparse(node.target)


def places(path):
    """The module that a stub takes each name from."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.name, node.module) for alias in node.names)


def complaints(code, folder):
    """The lines of a file that the type checker reports, each with its messages."""
    file = folder / "calls.py"
    file.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [
            CHECKER, "check", "--project", ROOT, "--python", sys.prefix, "--output-format", "concise",
            "--color", "never", file,
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    found = {}
    for line, message in re.findall(r"calls\.py:(\d+):\d+: (.*)", done.stdout):
        found.setdefault(int(line), []).append(message)
    assert bool(found) == bool(done.returncode), done.stdout
    return found


def test_the_stub_names_what_the_package_exports():
    stub = list(public_names(PACKAGE / "__init__.pyi"))
    assert len(stub) == len(set(stub))
    assert sorted(stub) == sorted(rx.__all__) == sorted(dir(rx))


def test_every_exported_name_is_what_the_stub_says_it_is():
    for name, module in places(PACKAGE / "__init__.pyi"):
        value = getattr(rx, name)
        if module == "reparax":
            assert isinstance(value, types.ModuleType), name
            assert value.__name__ == f"reparax.{name}"
        else:
            assert value is getattr(sys.modules[module], name), name


@pytest.mark.parametrize("room", registry.ROOMS)
def test_the_stub_of_a_room_lists_its_parts_and_what_else_it_exports(room):
    folder = PACKAGE / room
    parts = {(place.attribute, place.module) for place in registry.places(room).values()}
    others = {pair for pair in places(folder / "__init__.py") if pair[0] != "lazy_parts"}
    stub = list(places(folder / "__init__.pyi"))
    missing = [f"from {module} import {name} as {name}" for name, module in (parts | others) - set(stub)]
    assert not missing, f"add to src/reparax/{room}/__init__.pyi: {missing}"
    assert len(stub) == len(parts | others)
    assert sorted(name for name, _ in stub) == sorted(public_names(folder / "__init__.pyi"))
    assert all(getattr(getattr(rx, room), name) is getattr(sys.modules[module], name) for name, module in stub)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="fitt"):
        _ = rx.fitt


def test_what_may_be_chosen_is_what_a_recipe_has():
    fields = set(inspect.signature(Recipe).parameters)
    chosen = set(Chosen.__annotations__)
    assert chosen == fields | FLAT_OPTIONS
    assert chosen - set(Settings.__annotations__) == {"objective"}
    assert not Chosen.__required_keys__


def test_fit_and_plan_take_what_may_be_chosen():
    assert inspect.signature(rx.plan).parameters["chosen"].annotation.__args__ == (Chosen,)
    fit = inspect.signature(rx.fit).parameters
    assert fit["chosen"].annotation.__args__ == (Settings,)
    # What is a parameter and a key of the dictionary at once has no meaning to a type checker.
    assert set(fit) & set(Chosen.__annotations__) == {"objective"}


def test_right_calls_are_clean(tmp_path):
    assert complaints(RIGHT, tmp_path) == {}


def test_each_wrong_call_is_reported_on_its_own_line(tmp_path):
    found = complaints(WRONG, tmp_path)
    wrong = range(4, len(WRONG.splitlines()) + 1)
    assert sorted(found) == list(wrong), found


def test_a_wrong_name_or_setting_is_named(tmp_path):
    found = complaints(WRONG, tmp_path)
    assert "fitt" in found[4][0]
    assert "latent_dimm" in found[5][0]
    assert "latent_dimm" in found[6][0]


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()
