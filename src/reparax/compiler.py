"""How programs are compiled: with less optimization where they do little, and with products of float32 numbers."""

import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import equinox as eqx
import jax
import jaxlib

Effort = Literal["full", "some", "little"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

FEW_VALUES = 1 << 19
"""A run of training that sees fewer values than this, counted each time they are seen, is over sooner if the compiler
optimizes little. On two cores, with 8 columns: compiled 4.4 s sooner than with full effort, 300,000 values take 0.5 s
longer."""

SOME_VALUES = 1 << 22
"""The same for some optimization. On two cores, a table of 21 columns is compiled 6 s sooner, and its 2.6 million
values take 0.4 s longer; those of other tables take 0.3 to 0.8 s longer per million."""

FEW_ROWS = 20_000
"""Models of at most so many rows are asked about few rows: the program that scores 8 to 14 columns is ready 2 to 4 s
sooner, and takes a tenth longer for each row."""


def effort_for(num_values: int) -> Effort:
    """How much the compiler is to optimize a run that sees this many values, counted each time they are seen."""
    if jax.default_backend() != "cpu" or num_values >= SOME_VALUES:
        return "full"
    return "little" if num_values < FEW_VALUES else "some"


def effort_for_rows(num_examples: int) -> Effort:
    """How much it is to optimize what is computed of rows, for a model of so many; the same for any rows."""
    return "some" if jax.default_backend() == "cpu" and num_examples <= FEW_ROWS else "full"


def options(effort: Effort) -> dict[str, Any]:
    """The compiler options of an effort, for `jax.jit`; a level that the user sets in ``XLA_FLAGS`` is kept."""
    level = {"full": None, "some": 1, "little": 0}[effort]
    if level is None or (level and "--xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", "")):
        return {}
    chosen: dict[str, Any] = {"xla_backend_optimization_level": level}
    if jaxlib.__version__.startswith("0.10."):  # later releases may not have these
        chosen |= {"xla_cpu_use_fusion_emitters": False}
        if level == 0:  # what is compiled so fast is not divided among threads
            chosen["xla_cpu_parallel_codegen_split_count"] = 1
    return chosen


def in_float32(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function with matrix products and convolutions of float32 numbers in float32.

    On recent GPUs jax multiplies numbers cut to 10 bits (TF32) unless told otherwise, and on TPUs to 7: densities would
    be off by tenths of a nat, and sums of whole numbers above 2,048 wrong. On a CPU it changes nothing.
    """

    @wraps(function)
    def precisely(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with jax.default_matmul_precision("float32"):
            return function(*args, **kwargs)

    return precisely


def compiled(function: Callable[..., Any], **arguments: Any) -> Mapping[Effort, Callable[..., Any]]:
    """A function compiled with each effort, with products as `in_float32`.

    Args:
        function: The function.
        arguments: For `equinox.filter_jit`.
    """
    jit: Any = eqx.filter_jit  # its overloads leave out the options of jax.jit
    efforts: tuple[Effort, ...] = ("full", "some", "little")
    precise = in_float32(function)
    return {effort: jit(precise, **arguments, **_of_jit(effort)) for effort in efforts}


def _of_jit(effort: Effort) -> dict[str, Any]:
    chosen = options(effort)
    return {"compiler_options": chosen} if chosen else {}
