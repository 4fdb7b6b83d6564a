"""A fitted model as an HTTP service; see `serve` and `application`."""

from reparax.extras import extras

with extras():
    from reparax.serving.app import application as application
    from reparax.serving.limits import Limits as Limits
    from reparax.serving.run import checked_address as checked_address
    from reparax.serving.run import serve as serve
