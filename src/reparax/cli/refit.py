"""``reparax refit-prior``: another prior for a fitted model."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from reparax.cli.model import Allow, Data, Id, Label, View, member_of, open_data, open_model, source_of, streamed
from reparax.cli.options import choice_of
from reparax.cli.terminal import speaker


@streamed
def refit_prior(
    model: str,
    data: Data | None = None,
    /,
    *,
    out: Annotated[str, Parameter(name=["--out", "-o"], allow_leading_hyphen=True)],
    view: View = (),
    row_id: Id = None,
    prior: str | None = None,
    seed: int = 0,
    member: int | None = None,
    label: Label = None,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Fit another prior to the codes of data, and write the model with it; encoder and decoder stay.

    Samples improve where the codes of the data are not distributed as the prior was.

    Args:
        model: The model folder.
        data: Data of the same shape as those that the model was fitted to, best those of the fit; - for standard input.
        out: The model folder to write.
        view: In place of DATA, one of several views: NAME=FILE; once for each view.
        row_id: Of views, the column or array that names their rows; by default they belong together in their order.
        prior: The prior, by name or as JSON with its options (default: the best of several on held-out rows).
        seed: The random seed.
        member: Of an ensemble, the member whose prior is fitted, from 1 on; it is written alone.
        label: Where the labels are, if they are given to the model.
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    say = speaker(quiet)
    fitted = member_of(open_model(model, allow), member, "to refit the prior of")
    from reparax import applications, artifact

    folder = Path(out).expanduser()
    artifact.check_folder(folder)
    dataset = open_data(source_of(data, view, row_id), fitted, say, label=label)
    refitted = applications.refit_prior(
        fitted, dataset, prior=None if prior is None else choice_of("prior", prior), seed=seed
    )
    held_out = applications.held_out_of(fitted, dataset)
    where, rows = ("held-out rows", held_out) if held_out is not None else ("these rows", dataset)
    before, after = (applications.code_log_density(one, rows, seed=seed) for one in (fitted, refitted))
    assert refitted.recipe is not None
    say(f"prior       {refitted.recipe.name('prior')}")
    say(f"log p(z) of the codes of {where}: {before:.2f} before, {after:.2f} nats now")
    artifact.save(refitted, folder)
    say(f"wrote {out}")
