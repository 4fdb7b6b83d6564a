"""``reparax evaluate``: how good a model is on data, as JSON."""

import dataclasses
import json
import math
import sys
from typing import Annotated

from cyclopts import Parameter

from reparax.cli._model import Allow, open_data, open_model
from reparax.cli._say import speaker


def evaluate(
    model: str,
    data: str,
    /,
    *,
    samples: int = 100,
    seed: int = 0,
    held_out: bool = False,
    out: Annotated[str | None, Parameter(name=["--out", "-o"])] = None,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Print bounds on the log-likelihood and their parts as JSON: nats per example, higher is better.

    Args:
        model: The model folder.
        data: Data of the shape the model was fitted to.
        samples: K, the importance samples for each example.
        seed: The seed of the samples.
        held_out: Only the rows that were held out when the model was fitted to these data.
        out: Write to a .json file instead of stdout.
        allow: Modules of parts of your own that may be imported.
        quiet: Show no notes.
    """
    from reparax.data import atomic_write, check_output

    if out is not None:
        check_output(out, (".json",))
    say = speaker(quiet)
    fitted = open_model(model, allow)
    dataset = open_data(data, fitted, say, held_out=held_out)
    from reparax import applications

    found = dataclasses.asdict(applications.evaluate(fitted, dataset, num_samples=samples, seed=seed))
    text = json.dumps({name: _number(value) for name, value in found.items()}, indent=2, allow_nan=False) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    with atomic_write(out) as file:
        file.write_text(text)
    say(f"wrote {out}: {len(dataset)} examples evaluated")


def _number(value: float | None) -> float | None:
    """A number as JSON has it: NaN and infinities are null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
