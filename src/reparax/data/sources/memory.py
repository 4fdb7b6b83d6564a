"""How much memory data may take."""

import os
import re
from pathlib import Path

from reparax.errors import RecipeError

SHARE = 0.25
"""The fraction of the available memory that data may take if the user says nothing."""
UNKNOWN = float(1 << 31)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"(\d+\.?\d*|\.\d+)\s*([KMGT]?)(I?)B?", re.IGNORECASE)
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def bytes_of(memory: str | float | None) -> float:
    """A size such as ``"2GB"``, ``"500MiB"`` or a number of bytes; without one, a quarter of the available memory.

    Raises:
        RecipeError: It is no size above 0.
    """
    if memory is None:
        return SHARE * available()
    found = _SIZE.fullmatch(str(memory).strip())
    if found is None or float(found[1]) <= 0:
        raise RecipeError(
            expected="an amount of memory such as 2GB or 500MB", got=repr(memory), cure="write a number and a unit"
        )
    number, unit, binary = float(found[1]), found[2].upper(), bool(found[3])
    return number * (1024 ** "KMGT".find(unit) * 1024 if binary and unit else _UNITS[unit])


def available() -> float:
    """Bytes of memory that are free or can be freed, within the limits of the container and of the process."""
    return min([_of_system(), *_of_container(), *_of_process()])


def _of_system() -> float:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, AttributeError):  # not on this system
        return UNKNOWN


def _of_container() -> list[float]:
    found = []
    for path in _LIMITS:
        try:
            found.append(float(Path(path).read_text()))  # "max" where there is none
        except (OSError, ValueError):
            continue
    return found


def _of_process() -> list[float]:
    try:
        import resource
    except ImportError:  # not on this system
        return []
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return [float(limit) for limit in limits if limit != resource.RLIM_INFINITY]
