"""``python -m reparax`` is the command line."""

from reparax.cli import run

if __name__ == "__main__":
    run()
