"""The page of the documentation: its code runs, with fewer epochs."""

import re
from pathlib import Path

import numpy as np
import pytest

from reparax.sklearn import VAE, AnomalyDetector

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scikit-learn.md"


@pytest.mark.full
def test_code_runs_and_gives_what_the_page_says():
    text = PAGE.read_text(encoding="utf-8")
    code = "".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    quick = "epochs=2, valid=0, width=8, depth=1, importance_samples=5, "
    names = {}
    exec(compile(re.sub(r"rx\.(VAE|AnomalyDetector)\(", rf"rx.\1({quick}", code), PAGE.name, "exec"), names)
    people = names["people"]
    assert names["codes"].shape == (500, 2)
    assert names["density"].shape == (500,)
    assert names["rows"].schema == names["filled"].schema == names["expected"].schema == people.schema
    assert names["filled"].null_count().sum_horizontal().item() == 0 < people.null_count().sum_horizontal().item()
    assert (names["labels"] == -1).sum() == 25
    assert np.array_equal(names["scores"] < 0, names["labels"] == -1)
    assert names["shares"].shape == (500, 4)
    assert names["body"].columns == ["body__vae0"]
    assert set(names["search"].best_params_) == {"latent_dim"}


def test_every_public_method_is_described():
    text = PAGE.read_text(encoding="utf-8")
    for kind in (VAE, AnomalyDetector):
        for name in vars(kind):
            assert name.startswith("_") or f"{name}(" in text, name
