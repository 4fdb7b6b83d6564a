"""A page of this machine on which a model and its data are explored; see `explore`.

What computes is imported when it is first used, so that the page is there before.
"""

import importlib
from typing import TYPE_CHECKING, Any

from reparax.extras import extras

with extras():
    import websockets as websockets  # which uvicorn imports only when a page connects

    from reparax.explorer.app import application as application
    from reparax.explorer.limits import Limits as Limits
    from reparax.explorer.run import Address as Address
    from reparax.explorer.run import explore as explore
    from reparax.explorer.run import has_browser as has_browser
    from reparax.explorer.run import run as run

if TYPE_CHECKING:
    from reparax.explorer.explorer import Explorer as Explorer
    from reparax.explorer.explorer import load as load


def __getattr__(name: str) -> Any:
    if name in {"Explorer", "load"}:
        return getattr(importlib.import_module("reparax.explorer.explorer"), name)
    raise AttributeError(f"module 'reparax.explorer' has no attribute {name!r}")
