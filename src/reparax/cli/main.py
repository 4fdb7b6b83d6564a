"""The entry point of the command line: for each error, one sentence and an exit code."""

import errno
import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from io import TextIOWrapper
from typing import NoReturn

from reparax.cli.cluster import is_connected
from reparax.cli.terminal import warn
from reparax.errors import MissingExtra, ReparaxError
from reparax.extras import extras

COMMANDS = (
    "fit", "encode", "classify", "reconstruct", "sample", "impute", "score", "evaluate", "compare", "report",
    "refit-prior", "sweep", "export", "serve", "explore", "info",
)  # fmt: skip
USER_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143
BROKEN_PIPE = 141
COLLECTED_AFTER = (50_000, 10, 10)
"""How many new objects there are between two collections of garbage: 70 times as many as by default.

Imports and the tracing of programs make many objects that stay; looking for garbage among them took a tenth of the time
until a command starts.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The arguments after ``reparax``; by default those of this process.

    Returns:
        The exit code: 0 for success; 1 if training diverged and the model before that was kept; 2 for an error that the
        user can fix, after one sentence on stderr; 130 if interrupted by Ctrl-C, 143 by SIGTERM; 141 if nobody reads
        the output any more. A bug in reparax is raised with its traceback.
    """
    try:
        with extras():
            from cyclopts import CycloptsError

            from reparax.cli.app import make_app
    except MissingExtra as error:
        warn(f"error: {error}")
        return USER_ERROR
    try:
        with extras():
            code = make_app()(
                list(sys.argv[1:] if argv is None else argv),
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
        sys.stdout.flush()
    except CycloptsError as error:
        warn(f"error: {_usage(error)}")
        return USER_ERROR
    except ReparaxError as error:
        warn(f"error: {error}")
        return USER_ERROR
    except KeyboardInterrupt:
        warn("interrupted; nothing was written")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return BROKEN_PIPE
    except OSError as error:
        warn(f"error: {_system(error)}")
        _drop_stdout()
        return USER_ERROR
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        warn(
            "error: expected enough memory; ran out of it; choose a smaller --batch-size, --width or --samples, or "
            "use less data"
        )
        return USER_ERROR
    return code if isinstance(code, int) else 0


def run() -> NoReturn:
    """Runs one command and ends the process.

    An interrupted process ends at once: XLA may be compiling in other threads, and crashes if Python is taken down
    around it (segmentation fault, exit code 139).
    """
    gc.set_threshold(*COLLECTED_AFTER)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as Python does for stderr: names and signs in any encoding
    code = main()
    # Where others of a fit in several processes wait for this one, jax would wait for them too.
    if code in {INTERRUPTED, TERMINATED} or is_connected():
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _usage(error: Exception) -> str:
    """A usage error as a sentence, with the command that shows the usage."""
    tokens = getattr(error, "unused_tokens", None)
    chain = tuple(getattr(error, "command_chain", None) or ())
    if tokens and not chain:
        near = get_close_matches(tokens[0], COMMANDS, n=1)
        hint = f' Did you mean "{near[0]}"?' if near else f" The commands are {', '.join(COMMANDS)}."
        sentence = f'Unknown command "{tokens[0]}".{hint}'
    elif tokens:
        # After an option that a command lacks, its other words are unused too.
        strange = [token for token in tokens if token.startswith("--")] or tokens
        sentence = f"Unexpected {', '.join(map(repr, strange))}."
    else:
        sentence = " ".join(str(error).split())
    return f"{sentence} See {' '.join(('reparax', *chain, '--help'))}."


def _system(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "expected free disk space; got a full disk; free some space, or write to another disk"
    where = f" for {error.filename}" if error.filename else ""
    return f"expected a usable file; got {error.strerror or error}{where}; check its name and permissions"


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)


def _drop_stdout() -> None:
    """Lets the interpreter close a standard output that cannot be written to, without an error message."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
