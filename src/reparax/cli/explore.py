"""``reparax explore``: a model and its data in a page of this machine."""

from typing import Annotated

from cyclopts import Parameter

from reparax.cli.model import Allow, Data, Label, open_data, open_model
from reparax.cli.terminal import speaker


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
    allow: Allow = (),
    quiet: bool = False,
) -> int:
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
        allow: Modules with custom parts that may be imported.
        quiet: Print the address and nothing else.
    """
    from reparax import explorer

    say = speaker(quiet)
    fitted = open_model(model, allow)
    dataset = None if data is None else open_data(data, fitted, say, label=label)
    opens = explorer.has_browser() if browser is None else browser
    has_ended = explorer.explore(
        fitted, dataset, name=data or "", host=host, port=port, hosts=allow_host, open_browser=opens, say=say,
        announce=print_address if quiet else None,
    )  # fmt: skip
    say("stopped")
    return 0 if has_ended else ENDED_AT_ONCE


ENDED_AT_ONCE = 130
"""As after an interruption: the process does not wait for programs that are being compiled."""


def print_address(address: str) -> None:
    """Prints the address alone, for scripts."""
    print(address, flush=True)
