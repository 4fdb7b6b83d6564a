"""Checks shared by the front doors: is an estimator right for a distribution, and an integrand continuous."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.errors import InvalidEstimator
from reparax.estimators._base import Integrand
from reparax.estimators._continuity import Jump, Vouched, find_jump
from reparax.estimators._distributions import draw, innermost, is_discrete


def with_key(f: Callable[..., Any]) -> Integrand:
    """f as a function ``(z, key)``, whether or not it asks for a key."""
    if isinstance(f, Vouched):
        return with_key(f.function)
    parameters = inspect.signature(f).parameters
    if "key" in parameters and parameters["key"].kind is inspect.Parameter.KEYWORD_ONLY:
        return lambda z, key: f(z, key=key)
    return lambda z, key: f(z)


def jump_of(f: Callable[[list[Any]], Any], flat: Sequence[dist.Distribution], varying: Sequence[bool]) -> Jump | None:
    """Why f jumps as a function of those draws that are differentiated; ``None`` if it is continuous."""
    if not any(varying):
        return None
    moving = [_relaxed_shape(leaf) for leaf, moves in zip(flat, varying, strict=True) if moves]
    fixed = [_drawn_shape(leaf) for leaf, moves in zip(flat, varying, strict=True) if not moves]

    def arranged(moved: list[Any], held: list[Any]) -> Any:
        sources = {True: iter(moved), False: iter(held)}
        drawn = [next(sources[moves]) for moves in varying]
        return f([_wrapped(leaf, z) if moves else z for leaf, z, moves in zip(flat, drawn, varying, strict=True)])

    return find_jump(arranged, moving, fixed)


def _wrapped(q: dist.Distribution, z: Array) -> Array:
    """An angle cut at +-pi, where a function that is not periodic jumps; anything else as it is."""
    if not isinstance(innermost(q), dist.VonMises):
        return z
    return jnp.remainder(z + jnp.pi, 2 * jnp.pi) - jnp.pi


def _relaxed_shape(q: dist.Distribution) -> jax.ShapeDtypeStruct:
    floats = [leaf for leaf in jax.tree.leaves(q) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    return jax.ShapeDtypeStruct(q.shape(), jnp.result_type(float, *floats))


def _drawn_shape(q: dist.Distribution) -> jax.ShapeDtypeStruct:
    if not is_discrete(q):
        return _relaxed_shape(q)
    drawn = jax.eval_shape(lambda: draw(q, jax.random.key(0), 1))
    return jax.ShapeDtypeStruct(drawn.shape[1:], drawn.dtype)


def discontinuous(estimator: eqx.Module, jump: Jump) -> InvalidEstimator:
    """The error for an integrand that jumps."""
    return InvalidEstimator(
        expected=f"an f that is continuous in z, which {type(estimator).__name__} differentiates",
        got=jump.reason,
        cure="use leave-one-out, optimal-baseline or measure-valued, which do not differentiate f in z; or, if f is "
        "continuous all the same, wrap it: estimators.Vouched(f)",
    )
