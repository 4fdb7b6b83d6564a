"""The command line: ``reparax fit``, ``encode``, ``reconstruct``, ``sample``, ``score``, ``evaluate``, ``info``.

Results go to stdout or to the named file, messages for people to stderr. jax is imported inside the commands, so that
``reparax --help`` is fast.
"""

from reparax.cli.main import main as main
from reparax.cli.main import run as run
