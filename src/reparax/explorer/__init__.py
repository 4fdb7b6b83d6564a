"""A page of this machine on which a model and its data are explored; see `explore`."""

from reparax.extras import extras

with extras():
    import websockets as websockets  # which uvicorn imports only when a page connects

    from reparax.explorer.app import application as application
    from reparax.explorer.explorer import Explorer as Explorer
    from reparax.explorer.limits import Limits as Limits
    from reparax.explorer.run import explore as explore
    from reparax.explorer.run import has_browser as has_browser
    from reparax.explorer.subject import subject_of as subject_of
