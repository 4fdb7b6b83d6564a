"""Parts are found by reading the files of their rooms, without importing them."""

import subprocess
import sys

import pytest

from reparax import registry
from reparax.errors import RecipeError

BASES = {
    "posteriors": "AbstractPosterior",
    "priors": "AbstractPrior",
    "likelihoods": "AbstractLikelihood",
    "objectives": "AbstractObjective",
    "networks": "AbstractArchitecture",
}
PARTS = [(room, name) for room in BASES for name in registry.names(room)]


@pytest.mark.parametrize(("room", "name"), PARTS)
def test_a_part_is_complete_and_documented(room, name):
    part = registry.load(room, name)
    module = sys.modules[f"reparax.{room}"]
    assert issubclass(part, getattr(module, BASES[room]))
    assert not getattr(part, "__abstractmethods__", None)
    assert registry.part_name(part) == name
    assert getattr(module, part.__name__) is part
    assert part.__name__ in dir(module)
    assert part.__doc__
    assert len(part.__doc__.splitlines()[0]) > 20


@pytest.mark.parametrize("room", BASES)
def test_names_are_sorted_and_leave_out_private_files(room):
    names = registry.names(room)
    assert list(names) == sorted(names)
    assert names
    assert not any(name.startswith(("-", "_")) for name in names)


def test_the_names_of_the_estimators():
    assert registry.names("estimators") == (
        "antithetic", "arm", "arms", "arsm", "boundary", "disarm", "doubly-reparameterized", "enumeration",
        "gumbel-softmax", "importance-weighted-pathwise", "latin-hypercube", "learned-baseline", "leave-one-out",
        "linear-combination", "mean-baseline", "measure-valued", "mixture-index-score", "optimal-baseline", "pathwise",
        "rao-blackwellized-mixture", "rebar", "reinmax", "relax", "score-function", "separable-enumeration", "sobol",
        "sticking-the-landing", "straight-through", "straight-through-gumbel-softmax", "sum-and-sample", "vimco",
    )  # fmt: skip


def test_a_class_may_say_its_name():
    assert registry.load("estimators", "disarm").__name__ == "DisARM"
    assert registry.part_name(registry.load("estimators", "reinmax")) == "reinmax"


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from reparax import registry; "
        f"assert all(registry.names(room) for room in {list(BASES)}); "
        "assert not {'jax', 'numpyro', 'equinox'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_refused_with_those_that_exist():
    with pytest.raises(RecipeError, match="bernoulli") as caught:
        registry.load("likelihoods", "cauchy")
    assert all(name in caught.value.expected for name in registry.names("likelihoods"))
    assert caught.value.got == "'cauchy'"


def test_an_unknown_attribute_of_a_room_is_an_attribute_error():
    from reparax import posteriors

    with pytest.raises(AttributeError, match="NoSuchPosterior"):
        posteriors.NoSuchPosterior  # noqa: B018
    with pytest.raises(AttributeError, match="diagonalnormal"):
        posteriors.diagonalnormal  # noqa: B018
