"""Functions as StableHLO: compiled programs for CPU, CUDA and TPU in one file, for batches of any size."""

import jax
from jax import export
from jax.errors import InconclusiveDimensionOperation

from reparax.compiler import in_float32
from reparax.errors import RecipeError
from reparax.exports._functions import Function

PLATFORMS = ("cpu", "cuda", "tpu")


def stablehlo(function: Function) -> bytes:
    """A function of a batch, serialized by ``jax.export``: takes its inputs, gives a dictionary of its outputs.

    Raises:
        RecipeError: It cannot be compiled for batches of any size.
    """
    (batch,) = export.symbolic_shape("batch")
    try:
        exported = export.export(jax.jit(in_float32(jax.vmap(function.call))), platforms=PLATFORMS)(
            *function.specs(batch)
        )
    except (ValueError, NotImplementedError, InconclusiveDimensionOperation) as error:
        raise RecipeError(
            expected=f"{function.name} to be compiled for batches of any size",
            got=" ".join(str(error).split())[:200],
            cure="use reparax serve, or fit with another part",
        ) from None
    return bytes(exported.serialize())
