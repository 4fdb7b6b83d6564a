"""The documentation: its code runs, its links lead somewhere, its navigation is whole, its tables are fresh."""

import ast
import importlib.util
import posixpath
import re
import tomllib
from pathlib import Path
from types import ModuleType

import jax
import pytest

import reparax as rx
from reparax import registry

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
# Pages whose code trains models or is a file of its own: compiled, not run.
COMPILED_ONLY = {
    "export.md",
    "serving.md",
    "explore.md",
    "tables.md",
    "quickstart.md",
    "adding-a-part.md",
    "scikit-learn.md",
    "report.md",
    "many.md",
}


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


API = script("make_api_pages")
GENERATED = {"parts.md", "api/index.md", *(f"api/{room}.md" for room in API.ROOMS)}  # by make docs

WITH_CODE = [page for page in PAGES if blocks(page)]


def cheaper(code):
    """The same code with fewer repetitions."""
    return re.sub(r"(repeats|num_pilot)=\d+", r"\1=16", code)


SLOW = {
    "conditional.md",
    "counts.md",
    "measuring.md",
    "views.md",
    "index.md",
    "choosing-an-estimator.md",
    "estimators/binary-and-categorical.md",
    "estimators/boundary.md",
    "estimators/enumeration.md",
    "estimators/measure-valued.md",
    "estimators/mixtures.md",
    "estimators/relaxations.md",
}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.full] if page in SLOW else [])
        for page in WITH_CODE
        if page not in COMPILED_ONLY
    ],
)
def test_code_runs(page):
    names = {}
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        for code in blocks(page):
            exec(compile(cheaper(code), page, "exec"), names)
    assert "jax" in names


@pytest.mark.parametrize("page", WITH_CODE)
def test_names_of_the_package_exist(page):
    """Every ``from reparax... import`` and every ``rx.name`` of the code."""
    for code in blocks(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("reparax"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rx":
                assert hasattr(importlib.import_module("reparax"), node.attr), ast.unparse(node)


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_to_files(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        found = (DOCS / page).parent / target
        inside = posixpath.normpath(f"{posixpath.dirname(page)}/{target}").lstrip("/")
        assert found.is_file() or inside in GENERATED, f"{page} links to {target}"


def value_of(name):
    """What a dotted name stands for: a module, or what one holds."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        holder, _, last = name.rpartition(".")
        return getattr(value_of(holder), last)


TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(DOCS / page for page in PAGES)]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("path", [*TEXTS, *SOURCES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_modules_that_are_named_exist(path):
    """Paths that begin with a folder of the repository, and dotted names of the package, docstrings included."""
    text = path.read_text(encoding="utf-8")
    for named in re.findall(
        r"(?<![\w/.-])(?:src|tests|docs|scripts|benchmarks|examples|requirements)/[\w./-]*\w", text
    ):
        is_rate = named == "examples/s"
        assert is_rate or (ROOT / named).exists(), named
    for named in set(re.findall(r"\breparax(?:\.[A-Za-z_]\w*)+", text)):
        assert value_of(named) is not None, named


def targets(nav):
    for entry in nav:
        for value in entry.values():
            yield from targets(value) if isinstance(value, list) else [value]


def test_the_navigation_holds_every_page_once():
    nav = list(targets(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]))
    assert sorted(nav) == sorted({*PAGES, *GENERATED})


def test_every_estimator_is_on_a_page():
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "estimators").glob("*.md"))
    text += (DOCS / "choosing-an-estimator.md").read_text(encoding="utf-8")
    for name in registry.names("estimators"):
        assert f"`{name}`" in text or registry.load("estimators", name).__name__ in text, name


def test_the_page_of_parts_names_every_part():
    module = script("make_parts_page")
    text = module.page()
    assert all(f"`{name}`" in text for room in module.ROOMS for name in registry.names(room))


def test_the_table_of_the_readme_has_every_posterior_and_prior_in_its_space():
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("### What can be combined")[2]
    rows = [
        line.strip("| ").split(" | ") for line in text.partition("\n- ")[0].splitlines() if "`" in line and "|" in line
    ]
    shown = {space: [re.findall("`([^`]+)`", cell) for cell in cells] for space, *cells in rows}
    kinds = {room: {n: registry.load(room, n) for n in registry.names(room)} for room in ("posteriors", "priors")}
    assert set(shown) == {kind.latent_space for kind in kinds["posteriors"].values()}
    for space, (posteriors, priors) in shown.items():
        assert set(posteriors) == {n for n, kind in kinds["posteriors"].items() if kind.latent_space == space}
        assert set(priors) == {n for n, kind in kinds["priors"].items() if space in kind.latent_spaces}


def test_every_family_has_a_small_picture_made_by_the_code():
    names = set(script("make_family_pictures").PICTURES)
    shown = re.findall(r"\]\(images/families/(\w+)\.png\)", (DOCS / "which-model.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(names) == sorted(path.stem for path in (DOCS / "images/families").iterdir())
    assert all((DOCS / "images" / "families" / f"{name}.png").stat().st_size < 40_000 for name in names)


def test_the_reference_has_every_room_export_and_part():
    pages = API.pages()
    exported = dict(API.exported())
    assert {name for name in rx.__all__ if not isinstance(getattr(rx, name), ModuleType | str)} == set(exported)
    assert {name for name in rx.__all__ if isinstance(getattr(rx, name), ModuleType)} <= set(API.ROOMS)
    entries = "\n".join(pages.values())
    assert all(f"\n::: {API.place(value)}\n" in entries for value in exported.values())
    parts = script("make_parts_page").ROOMS
    loaded = [registry.load(room, name) for room in parts for name in registry.names(room)]
    assert all(f"\n::: {API.place(part)}\n" in entries for part in loaded)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("E_q[log p(x | z)] - KL(q || p), nats.", "`E_q[log p(x | z)] - KL(q || p)`, nats."),
        ("z = mu + L eps for each.", "`z = mu + L eps` for each."),
        ("log P(x) = x logit - softplus(logit)", "`log P(x) = x logit - softplus(logit)`"),
        ("-x_0^2 + ... + x_d^2 = -1, x_0 > 0", "`-x_0^2 + ... + x_d^2 = -1`, `x_0 > 0`"),
        ("A row (of all), and a value or I.", "A row &#40;of all&#41;, and a value or I."),
        ("A *plain* word of ``code`` for `fit`.", "A *plain* word of ``code`` for [`fit`][there.fit]."),
        ("As follows::\n\n    x_1 * x_2\n\nand x_1.", "As follows:\n\n    x_1 * x_2\n\nand `x_1`."),
        ("P_j(r) of 3 cells", "`P_j(r)` of 3 cells"),
    ],
)  # fmt: skip
def test_formulas_of_docstrings_become_code(text, shown):
    assert script("docstring_markdown").markdown(text, {"fit": "there.fit"}) == shown


def test_latex_of_docstrings_becomes_mathml():
    pytest.importorskip("latex2mathml", reason="it is installed for the documentation alone")
    shown = script("docstring_markdown").markdown(r"where $$ \frac{dx}{d\theta} = -1 $$ and $a * b$ is.", {})
    assert shown.count("<math") == 2
    assert "<mfrac>" in shown
    assert "$" not in shown
    assert not re.search(r">[^<&]*[*_\\]", shown)


def test_the_table_of_families_is_fresh():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        module = script("make_gradients_page")
        text = module.PAGE.read_text(encoding="utf-8")
        assert module.page(text) == text, "run scripts/make_gradients_page.py"


def test_the_page_of_unbiasedness_is_made_from_the_tables_of_the_tests():
    module = script("make_unbiasedness_page")
    rows = list(module.bounds(2000, True))
    assert {row.estimator for row in rows} >= {"vimco", "sticking-the-landing", "doubly-reparameterized"}
    text = module.page({"Bounds": rows}, 2000, ["Bounds"])
    assert text.count("\n| `q = Normal") == len(rows) > 20
    wrong = rows[0]._replace(z=6.0)
    assert "**1 are beyond 5.**" in module.page({"Bounds": [*rows, wrong]}, 2000, [])


def test_integrands_are_written_as_in_their_source():
    module = script("make_unbiasedness_page")
    table = module.test_module("reparameterization.test_rsample_unbiased")
    shown = {module.written(f) for case in table.CASES for f in case.functions}
    assert {"log(x)", "exp(-x)", "log1p(-x)", "sum x^2", "1 / (1 + x^2)", "x[0] * x[1]"} <= {
        text.replace("x[0]] *", "x[0] *") for text in shown
    }
