"""The report on a fitted model and its data: one self-contained HTML file."""

from pathlib import Path
from typing import Any

from reparax.data import check_output
from reparax.disk import atomic_write
from reparax.recipe import FittedModel
from reparax.reports.charts import shortened
from reparax.reports.codes import codes
from reparax.reports.gaps import gaps
from reparax.reports.latent import dimensions, latent_map
from reparax.reports.numbers import as_json
from reparax.reports.overview import about_data, headline, likelihoods, reproduce, training
from reparax.reports.page import Section, rendered
from reparax.reports.pictures import reconstructed_pictures, sampled_pictures, traversals, typical_pictures
from reparax.reports.related import related
from reparax.reports.secrecy import secrecy
from reparax.reports.study import Origin, Study, study_of
from reparax.reports.tables import anomalies, marginals, reconstruction, relations

SUFFIXES = (".html", ".htm", ".json")


def report(
    fitted: FittedModel,
    data: Any,
    path: str | Path,
    *,
    label: str | Path | None = None,
    num_samples: int = 100,
    seed: int = 0,
    origin: Origin | None = None,
) -> None:
    """Writes an HTML report: a verdict, data, training, latent map, synthetic rows or images, privacy, likelihoods.

    To a name that ends in .json, the numbers of the report are written instead.

    The file refers to no other and can be read offline, on a phone, in light and dark, and in print. The same model,
    data and seed give the same bytes. If the data are those of the fit, likelihoods and reconstructions are measured on
    the held-out rows. Of large data, evenly spaced rows are used; the report says how many.

    Args:
        fitted: The fitted model.
        data: Anything `reparax.data.read` reads, or a `Dataset`.
        path: The file to write, ending in .html or .json; an existing file is replaced.
        label: What to color the latent map by: a column of the table, or labels as for `reparax.data.read`. By default
            the labels of the data, or else the column that is most strongly associated with the map.
        num_samples: K, the importance samples of each row.
        seed: The seed of synthetic rows and importance samples.
        origin: Where the model and the data come from, for the commands at the end of the report.

    Raises:
        DataError: The data have another shape or kind than in the fit, or lack the label.
        OutputError: The file cannot be written.
        RecipeError: The number of samples is below 1.
    """
    check_output(path, SUFFIXES)
    study = study_of(fitted, data, label=label, origin=origin, num_samples=num_samples, seed=seed)
    write(study, path)


def write(study: Study, path: str | Path) -> None:
    """Writes the report of a study: HTML, or its numbers as JSON.

    Args:
        study: The model and the data; see `study_of`.
        path: The file to write, ending in .html or .json; an existing file is replaced.

    Raises:
        OutputError: The file cannot be written.
        RecipeError: The number of samples is below 1.
    """
    if Path(path).suffix.lower() == ".json":
        text = as_json(study)
    else:
        text = rendered(_title(study), _subtitle(study), sections_of(study))
    with atomic_write(path) as file:
        file.write_text(text, encoding="utf-8")


def sections_of(study: Study) -> tuple[Section, ...]:
    """The sections for the kind of data, in order."""
    first = [headline(study), about_data(study), training(study), latent_map(study), codes(study) or dimensions(study)]
    middle: list[Section] = []
    if study.is_table:
        middle = [marginals(study), relations(study), reconstruction(study), anomalies(study)]
        middle = middle if len(study.columns) > 1 else [section for section in middle if section.name != "associations"]
        more = [section for section in (related(study), gaps(study)) if section is not None]
        middle = [*middle[:-2], *more, *middle[-2:]]
    elif study.is_images:
        middle = [reconstructed_pictures(study), sampled_pictures(study), traversals(study), typical_pictures(study)]
    return (*first, *middle, secrecy(study), likelihoods(study), reproduce(study))


def _title(study: Study) -> str:
    name = Path(study.origin.data).name if study.origin.data != Origin().data else ""
    kind = {"table": "table", "images": "set of images"}.get(study.fitted.schema.kind, "array")
    return f"Model of {shortened(name, 80)}" if name else f"Model of a {kind}"


def _subtitle(study: Study) -> str:
    recipe, count = study.fitted.recipe, len(study.dataset)
    kind = "variational autoencoder" if study.has_density else "autoencoder"
    words = f"A {kind} of {count:,} {study.rows_word(count)}"
    if recipe is None:
        return f"{words}, built from custom parts."
    plural = "" if recipe.latent_dim == 1 else "s"
    return (
        f"{words}: {recipe.latent_dim} latent dimension{plural}, posterior {recipe.name('posterior')}, "
        f"prior {recipe.name('prior')}, likelihood {recipe.name('likelihood')}, "
        f"trained by {recipe.name('objective')}."
    )
