"""What notebooks show: escaped, small, with the numbers of the objects; and the example notebook runs."""

import json
from html.parser import HTMLParser
from pathlib import Path

import jax
import jax.numpy as jnp
import nbclient
import nbformat
import numpy as np
import numpyro.distributions as dist
import polars as pl
import pytest

import reparax as rx
from reparax.data import split
from reparax.notebook import LONGEST, MOST_ROWS, table
from reparax.recipe import FittedModel, build
from reparax.training import Record

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "a_table_in_a_notebook.ipynb"
HOSTILE = "<img src=x onerror=alert(1)> $x$ **b** | `c`"


@pytest.fixture(autouse=True)
def _settings_of_a_user():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


class Page(HTMLParser):
    """The tags and the text of a piece of HTML."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.names, self.text, self.open = [], set(), "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def shown(thing):
    page = Page(thing._repr_html_())
    assert set(page.tags) <= {"div", "strong", "table", "tbody", "tr", "th", "td", "p"}
    assert page.names <= {"style"}
    assert len(thing._repr_html_()) < 20_000
    return page.text


@pytest.fixture(scope="module")
def fitted():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        rng = np.random.default_rng(0)
        dataset = rx.read(pl.DataFrame({HOSTILE: rng.normal(size=60), "kind": rng.choice([HOSTILE, "b"], 60)}))
        recipe = rx.plan(dataset, width=4, latent_dim=2)
        part, _ = split(dataset, recipe.valid, recipe.seed)
        model = build(recipe, part.schema, key=jax.random.key(0))
        record = Record(3.0, 9, {"bound": -2.0}, {"bound": -1.5, "bound_standard_error": 0.125}, 1.0)
        return FittedModel(model, part.schema, recipe, [record], "stopped early"), dataset


def test_a_fitted_model_its_schema_and_its_scores(fitted):
    model, dataset = fitted
    assert "-1.50 ± 0.12 nats, epoch 3" in shown(model)
    assert "diagonal-normal" in shown(model)
    assert "custom" in shown(FittedModel(model.model, model.schema))
    assert HOSTILE in shown(model.schema)
    scores = rx.score(model, dataset, num_samples=2)
    text = shown(scores)
    assert f"{scores.anomaly_score.max():.2f}" in text
    assert "<img src=x" in text  # as text: `shown` refuses the tag
    assert "$" not in scores._repr_html_()
    evaluation = rx.evaluate(model, dataset, num_samples=2)
    assert f"{evaluation.iwae:.2f}± {evaluation.iwae_standard_error:.2f}" in shown(evaluation)


def test_a_comparison_is_a_table_and_its_plot_a_figure():
    q = dist.Normal(jnp.zeros(1), jnp.ones(1)).to_event(1)
    found = rx.compare(lambda z: jnp.sum(z**2), q, key=jax.random.key(0), estimators=["pathwise"], repeats=16)
    assert "pathwise" in shown(found)
    assert "16 gradients" in shown(found)
    assert type(found.plot()).__name__ == "Figure"


def test_tables_are_short_and_cut_long_cells():
    text = table("many", ("a",), [(f"{'x' * 200} {row}",) for row in range(100)])
    assert Page(text).tags.count("tr") == MOST_ROWS + 1
    assert "and 88 more" in text
    assert "x" * (LONGEST + 1) not in text


def test_the_example_notebook_runs(tmp_path, monkeypatch):
    """In a kernel of its own; its cells must not fail, and what they show is what notebooks render."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1] / "src"))
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    done = client.execute()
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    rendered = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert any("FittedModel" in text for text in rendered)
    assert any("Scores" in text for text in rendered)
    assert "application/json" not in json.dumps(rendered)
