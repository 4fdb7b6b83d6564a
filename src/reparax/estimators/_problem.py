"""What is differentiated when estimators are measured: the parameters of q, of f, or those both are made from."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from reparax.continuity import Vouched
from reparax.errors import InvalidEstimator
from reparax.estimators._distributions import is_distribution
from reparax.estimators._parameters import Named, named_parameters


@dataclass(frozen=True)
class Problem:
    """An expectation as a function of named arrays.

    Args:
        arrays: What is differentiated, by name.
        at: The integrand of one draw and the pytree of distributions at other values of these arrays.
        f: The integrand at the values given.
        q: The distributions at the values given.
    """

    arrays: Named
    at: Callable[[Named], tuple[Callable[..., Any], Any]]
    f: Callable[..., Any]
    q: Any

    @property
    def vouched(self) -> bool:
        """Whether the integrand is exempt from inspection."""
        return isinstance(self.f, Vouched)


def problem(f: Callable[..., Any], q: Any, parameters: Any = None) -> Problem:
    """The problem that `compare`, `tune` and `explain` are given.

    Args:
        f: The integrand: ``f(z)``, or with ``parameters`` ``f(z, parameters)``; a keyword-only ``key`` is passed on.
        q: A pytree of distributions, or a function that makes one from ``parameters``.
        parameters: A pytree; its floating arrays are differentiated.

    Raises:
        InvalidEstimator: q is a function and there are no parameters, or the parameters have no floating array.
    """
    makes_q = callable(q) and not is_distribution(q)
    if parameters is None:
        if makes_q:
            raise InvalidEstimator(
                expected="parameters for a q that is a function of them",
                got="a function as q, and no parameters",
                cure="pass parameters=, a pytree of arrays; f is then called as f(z, parameters)",
            )
        own, rebuild = named_parameters(q)
        return Problem(own, lambda values: (f, rebuild(values)), f, q)
    arrays, rebuild_parameters = _named_arrays(parameters)
    if makes_q:

        def made(values: Named) -> tuple[Callable[..., Any], Any]:
            given = rebuild_parameters(values)
            return bound(f, given), q(given)

        return Problem(arrays, made, bound(f, parameters), q(parameters))
    own, rebuild = named_parameters(q)
    inside = {(f"parameters.{name}" if name in own else name): name for name in arrays}

    def both(values: Named) -> tuple[Callable[..., Any], Any]:
        given = rebuild_parameters({name: values[shown] for shown, name in inside.items()})
        return bound(f, given), rebuild({name: values[name] for name in own})

    return Problem(
        own | {shown: arrays[name] for shown, name in inside.items()}, both, bound(f, parameters), q
    )  # fmt: skip


def bound(f: Callable[..., Any], parameters: Any) -> Callable[..., Any]:
    """``f(z, parameters)`` as a function of the draw, vouched for if f is, with f's own key if it asks for one."""
    if isinstance(f, Vouched):
        return Vouched(bound(f.function, parameters))
    asked = inspect.signature(f).parameters.get("key")
    if asked is not None and asked.kind is inspect.Parameter.KEYWORD_ONLY:
        return lambda z, *, key: f(z, parameters, key=key)
    return lambda z: f(z, parameters)


def _named_arrays(parameters: Any) -> tuple[Named, Callable[[Named], Any]]:
    """The floating arrays of a pytree by their paths, and the pytree with others in their place."""
    pairs, structure = jax.tree_util.tree_flatten_with_path(parameters)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") or "parameters" for path, _ in pairs]
    flat = [leaf for _, leaf in pairs]
    moving = [place for place, leaf in enumerate(flat) if _is_floating(leaf)]
    if not moving:
        raise InvalidEstimator(
            expected="parameters with at least one array of real numbers",
            got="none",
            cure="pass the pytree that the gradient is wanted in, for example a network or a dict of arrays",
        )

    def rebuild(values: Named) -> Any:
        return jax.tree.unflatten(structure, [values.get(name, leaf) for name, leaf in zip(names, flat, strict=True)])

    return {names[place]: jnp.asarray(flat[place]) for place in moving}, rebuild


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, float) or (eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating))
