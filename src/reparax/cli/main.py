"""The door of the command line: one sentence and an exit code for whatever goes wrong."""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches

from reparax.cli.terminal import warn
from reparax.errors import MissingExtra, ReparaxError
from reparax.extras import extras

COMMANDS = ("fit", "encode", "reconstruct", "sample", "impute", "score", "evaluate", "report", "info")
MENDABLE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The words after ``reparax``; by default those of this process.

    Returns:
        The exit code: 0 well; 2 for what the user can mend, after one sentence on stderr; 130 when interrupted; 141
        when nobody reads the output any more. A bug of reparax itself is raised with its traceback.
    """
    try:
        with extras():
            from cyclopts import CycloptsError

            from reparax.cli.app import make_app
    except MissingExtra as error:
        warn(f"error: {error}")
        return MENDABLE
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
        return MENDABLE
    except ReparaxError as error:
        warn(f"error: {error}")
        return MENDABLE
    except KeyboardInterrupt:
        warn("interrupted; nothing was written")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return BROKEN_PIPE
    except OSError as error:
        warn(f"error: {_system(error)}")
        _drop_stdout()
        return MENDABLE
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        warn(
            "error: expected enough memory; got none left; choose a smaller --batch-size, --width or --samples, or "
            "give less data"
        )
        return MENDABLE
    return code if isinstance(code, int) else 0


def _usage(error: Exception) -> str:
    """The sentence of a usage error, with the command that explains the usage."""
    tokens = getattr(error, "unused_tokens", None)
    chain = tuple(getattr(error, "command_chain", None) or ())
    if tokens and not chain:
        near = get_close_matches(tokens[0], COMMANDS, n=1)
        hint = f' Did you mean "{near[0]}"?' if near else f" The commands are {', '.join(COMMANDS)}."
        sentence = f'Unknown command "{tokens[0]}".{hint}'
    elif tokens:
        sentence = f"Unexpected {', '.join(map(repr, tokens))}."
    else:
        sentence = " ".join(str(error).split())
    return f"{sentence} See {' '.join(('reparax', *chain, '--help'))}."


def _system(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "expected room to write; got a full disk; free some space, or write to another disk"
    where = f" for {error.filename}" if error.filename else ""
    return f"expected a file that can be used; got {error.strerror or error}{where}; check its name and permissions"


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)


def _drop_stdout() -> None:
    """Lets the interpreter close a standard output that cannot be written, without a complaint."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
