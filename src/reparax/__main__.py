"""``python -m reparax`` is the command line."""

import sys

from reparax.cli import main

if __name__ == "__main__":
    sys.exit(main())
