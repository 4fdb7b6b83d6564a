"""``reparax explore``: a model and its data in a page of this machine."""

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from reparax.cli.model import (
    Allow,
    Data,
    Label,
    NoId,
    NoView,
    is_model_folder,
    open_data,
    open_model,
    refuse_view_options,
)
from reparax.cli.terminal import end_with_threads, speaker, warn

if TYPE_CHECKING:
    from reparax.explorer import Explorer


def explore(
    model: str,
    data: Data | None = None,
    /,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    allow_host: tuple[str, ...] = (),
    browser: Annotated[bool | None, Parameter(negative="--no-browser")] = None,
    label: Label = None,
    view: NoView = (),
    row_id: NoId = None,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Explore a model and its data in the browser: a map of all rows, sliders, and questions about rows.

    It listens on this machine only, until Ctrl-C. The address that it prints holds a secret, without which nothing is
    shown.

    Args:
        model: The model folder.
        data: Data of the same kind as those that the model was fitted to; without data there is no map.
        host: The address to listen on; of others than this machine, whoever has the secret sees the data.
        port: The port; 0 for a free one (default: the first free one from 8765 on).
        allow_host: Other names by which browsers may address the page.
        browser: Open the page in a browser, or not (default: if there is one).
        label: Where the labels are, if the map is colored by them.
        view: Not taken.
        row_id: Not taken.
        allow: Modules with custom parts that may be imported.
        quiet: Print the address, on standard output, and nothing else.
    """
    from reparax import explorer

    refuse_view_options(
        view, row_id, "to explore", "use reparax encode and sample, or explore a model of one of the views"
    )
    say = speaker(quiet)
    if not is_model_folder(model):
        open_model(model, allow)  # says what is wrong with it before a page is shown

    options = [*(() if label is None else ("--label", label)), *(() if not allow else ("--allow", *allow))]
    command = shlex.join(["reparax", "explore", model, *(() if data is None else (data,)), *options])

    def load() -> "Explorer":
        fitted = open_model(model, allow)
        dataset = None if data is None else open_data(data, fitted, say, label=label)
        return explorer.load(fitted, dataset, data or "", command=command)

    opens = explorer.has_browser() if browser is None else browser
    address = explorer.Address(host, port, allow_host)
    explorer.run(load, address, open_browser=opens, announce=_announcer(quiet), say=say)
    say("stopped")
    end_with_threads(0.0)  # they had their time


def _announcer(quiet: bool) -> Callable[[str], None]:
    """Prints the address: for people, or alone for scripts."""
    if quiet:
        return lambda address: print(address, flush=True)
    return lambda address: warn(f"exploring at {address} (Ctrl-C stops)")
