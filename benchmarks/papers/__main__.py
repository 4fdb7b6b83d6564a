"""Runs the scripts of papers, and writes docs/papers.md from what they kept.

python benchmarks/papers              all that takes minutes on two cores, then the page
python benchmarks/papers miwae        one of them, then the page
python benchmarks/papers --page       the page alone
"""

import argparse
import subprocess
import sys
from pathlib import Path

from page import ON_TWO_CORES, write

FOLDER = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", help=f"of {', '.join(ON_TWO_CORES)} (default: all)")
    parser.add_argument("--page", action="store_true", help="write the page, run nothing")
    options = parser.parse_args()
    if unknown := set(options.scripts) - set(ON_TWO_CORES):
        parser.error(f"no such script: {', '.join(sorted(unknown))}; there are {', '.join(ON_TWO_CORES)}")
    chosen = [] if options.page else options.scripts or ON_TWO_CORES
    for name in chosen:  # each in a process of its own
        print(f"\n{name}\n", flush=True)
        subprocess.run([sys.executable, str(FOLDER / f"{name}.py"), "--keep"], check=True)
    write()


if __name__ == "__main__":
    main()
