"""``reparax report``: a page to look at."""

from typing import Annotated

from cyclopts import Parameter

from reparax.cli._model import Allow, open_model, origin_of
from reparax.cli._say import notes, speaker


def report(
    model: str,
    data: str,
    /,
    *,
    out: Annotated[str, Parameter(name=["--out", "-o"])] = "report.html",
    label: str | None = None,
    samples: int = 100,
    seed: int = 0,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Write a page to look at: data, training, latent map, synthetic rows or images, odd rows, likelihoods.

    One .html file that needs no network; where the data are those of the fit, it judges by the rows held out.

    Args:
        model: The model folder.
        data: Data of the shape the model was fitted to.
        out: The .html file to write (default: report.html).
        label: What colors the latent map: a column, an array of an npz, or a file of labels.
        samples: K, the importance samples for each example.
        seed: The seed of everything random.
        allow: Modules of parts of your own that may be imported.
        quiet: Show no notes.
    """
    from reparax.data import check_output

    say = speaker(quiet)
    check_output(out, (".html", ".htm"))
    fitted = open_model(model, allow)
    from reparax.reports import study_of, write

    study = study_of(fitted, data, label=label, origin=origin_of(model, data), num_samples=samples, seed=seed)
    notes(say, study.dataset.notes)
    write(study, out)
    say(f"wrote {out}: {len(study.dataset)} examples looked at")
