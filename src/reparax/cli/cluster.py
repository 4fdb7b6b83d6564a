"""Several processes that fit one model: how they find each other, and how each one ends if another does."""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from reparax.cli.terminal import warn
from reparax.errors import RecipeError

HEARTBEAT = 10
"""So many seconds without a sign of life, and a process counts as dead."""
LOST = 1
"""The exit code of a process that ends because another did."""


@dataclass(frozen=True)
class Cluster:
    """The processes of a fit.

    Attributes:
        coordinator: The address of the first process and a port that is free there; None to ask the scheduler.
        num_processes: How many there are.
        process_id: The number of this one, from 0.
        method: Who is asked for what is None: ``"slurm"``, ``"k8s"``, or nobody.
    """

    coordinator: str | None
    num_processes: int | None
    process_id: int | None
    method: str = "deactivate"

    @classmethod
    def of(
        cls,
        coordinator: str | None,
        num_processes: int | None,
        process_id: int | None,
        environment: Mapping[str, str] = os.environ,
    ) -> "Cluster | None":
        """The processes that are given, or that a scheduler has started; None if there is one.

        Raises:
            RecipeError: Only some of the numbers are given, or one that cannot be.
        """
        if num_processes == 1 and coordinator is None and not process_id:
            return None
        if (coordinator, num_processes, process_id) == (None, None, None):
            method = _scheduler(environment)
            return None if method is None else cls(None, None, None, method)
        if process_id is None:
            process_id = _number(environment.get("SLURM_PROCID") or environment.get("JOB_COMPLETION_INDEX"))
        missing = [
            name
            for name, value in (
                ("--coordinator", coordinator), ("--num-processes", num_processes), ("--process-id", process_id)
            )
            if value is None
        ]  # fmt: skip
        if coordinator is None or num_processes is None or process_id is None:
            raise RecipeError(
                expected="--coordinator, --num-processes and --process-id together",
                got=f"no {' and no '.join(missing)}",
                cure="give all three in each process: --coordinator node1:9123 --num-processes 2 --process-id 0",
            )  # fmt: skip
        if not 0 <= process_id < num_processes:
            raise RecipeError(
                expected=f"--process-id from 0 to {num_processes - 1}", got=str(process_id), cure="choose another"
            )
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise RecipeError(
                expected="--coordinator as HOST:PORT", got=coordinator, cure="name a free port of the first process"
            )
        return cls(coordinator, num_processes, process_id)

    def connect(self) -> None:
        """Waits for the other processes; nothing may have been computed by jax before.

        Raises:
            RecipeError: They do not come, or the scheduler does not say who they are.
        """
        import jax

        # Its handler of SIGTERM would take the place of ours.
        jax.config.update("jax_enable_preemption_service", False)
        _say_on_abort(str(_apart("some that did not come or cannot be reached")))
        # jax has a name for that of Slurm, and none for that of Kubernetes, which it finds by itself.
        method = None if self.method == "k8s" else self.method
        try:
            jax.distributed.initialize(
                self.coordinator, self.num_processes, self.process_id, cluster_detection_method=method,
                heartbeat_timeout_seconds=HEARTBEAT,
            )  # fmt: skip
        except Exception as error:  # those of asking Kubernetes have no base in common
            raise _apart(str(error).splitlines()[0]) from None
        from reparax.training import lost

        _say_on_abort(str(lost()))


def _apart(got: str) -> RecipeError:
    """The processes have not come together."""
    return RecipeError(
        expected="all processes of the fit to come together", got=got,
        cure="check that all of them were started, with a --coordinator that can be reached and whose port is free; "
        "for a fit of this process alone, --num-processes 1",
    )  # fmt: skip


def leave() -> None:
    """Ends the connection, after which no process waits for another; each must call it."""
    import jax

    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def is_connected() -> bool:
    """Whether other processes count on this one."""
    jax: Any = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def _scheduler(environment: Mapping[str, str]) -> str | None:
    """Who has started several processes, if somebody has."""
    if (_number(environment.get("SLURM_STEP_NUM_TASKS")) or 1) > 1:  # in an srun, not in the script around it
        return "slurm"
    if "KUBERNETES_SERVICE_HOST" not in environment or "JOB_COMPLETION_INDEX" not in environment:
        return None
    if find_spec("kubernetes") is None:
        warn(
            "warning: in this indexed job of Kubernetes each pod fits a model of its own (--num-processes 1 says that "
            "it should); for one model of all pods: pip install 'reparax[kubernetes]', or --coordinator and "
            "--num-processes"
        )
        return None
    return "k8s"


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _say_on_abort(sentence: str) -> None:
    """Ends this process with a sentence where jax aborts it, which it does if it misses another one.

    The abort comes from a thread of C++; no exception reaches Python, and its own handlers of signals never run.
    """
    if os.name == "posix":
        library = ctypes.CDLL(None)
        library.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
        library.signal(signal.SIGABRT, ctypes.cast(_on_abort(sentence), ctypes.c_void_p))


@cache
def _on_abort(sentence: str) -> Any:
    """The handler of the signal; C must find it as long as the process runs."""

    def aborted(number: int) -> None:
        warn(f"error: {sentence}")
        os._exit(LOST)

    return ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)
