"""``reparax export``: a model for use without reparax."""

from typing import Annotated, Literal

from cyclopts import Parameter

from reparax.cli.model import Allow, Data, Label, NoId, NoView, member_of, open_data, open_model, refuse_view_options
from reparax.cli.terminal import speaker


def export(
    model: str,
    data: Data | None = None,
    /,
    *,
    format: Annotated[Literal["onnx", "stablehlo", "html"], Parameter(name=["--format", "-f"])],
    out: Annotated[str, Parameter(name=["--out", "-o"], allow_leading_hyphen=True)],
    samples: int = 100,
    member: int | None = None,
    label: Label = None,
    view: NoView = (),
    row_id: NoId = None,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Write a model for use without reparax: a folder of ONNX or StableHLO files, or one page for the browser.

    The folder holds encode, decode and score for batches of any size, and export.json, which says how cells become
    numbers. The page shows what the decoder makes of each latent vector; it needs no network and no installation.

    Args:
        model: The model folder.
        data: For html, data whose codes are shown as a map.
        format: What to write.
        out: The folder to write, or the .html file.
        samples: The number of draws of z for each example in score.
        member: Of an ensemble, the member that is exported, from 1 on.
        label: Where the labels of the data are, if they are given to the model.
        view: Not taken.
        row_id: Not taken.
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    from reparax.data import check_output

    refuse_view_options(
        view, row_id, "to export", "use reparax encode, score and impute, or export a model of one of the views"
    )
    check_output(out, (".html", ".htm") if format == "html" else ())
    say = speaker(quiet)
    fitted = member_of(open_model(model, allow), member, "to export")
    dataset = None if data is None else open_data(data, fitted, say, label=label)
    from reparax import exports

    exports.export(fitted, out, format=format, data=dataset, num_samples=samples)
    say(f"wrote {out}")
