"""The command line: ``reparax fit``, ``encode``, ``reconstruct``, ``sample``, ``score``, ``evaluate``, ``info``.

Results go to stdout or to the file that is named; everything said to people goes to stderr. Whatever needs jax is
imported inside the commands, so that ``reparax --help`` is quick.
"""

from reparax.cli.main import main as main
