"""The named parameters of a distribution, and the distribution rebuilt from others of the same shapes."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators.draws import is_distribution, numpyro_rules

Named = dict[str, Array]
Rebuild = Callable[[Any], Any]


def named_parameters(q: Any) -> tuple[Named, Rebuild]:
    """The floating parameters of a pytree of distributions, by name, and the function that puts others in their place.

    Names are the distribution's own (``loc``), preceded by the path in the pytree (``x.loc``) and by ``mixing`` or
    ``component`` inside mixtures. Distributions that cannot be rebuilt from their arguments give their leaves.
    """
    pairs, structure = jax.tree_util.tree_flatten_with_path(q, is_leaf=is_distribution)
    entries: list[tuple[str, Named, Rebuild]] = []
    for path, leaf in pairs:
        parameters, rebuild = _of(leaf)
        prefix = jax.tree_util.keystr(path, simple=True, separator=".")
        entries.append((f"{prefix}." if prefix else "", parameters, rebuild))

    def rebuild_all(values: Named) -> Any:
        rebuilt = [make({name: values[prefix + name] for name in inner}) for prefix, inner, make in entries]
        return jax.tree.unflatten(structure, rebuilt)

    return {prefix + name: value for prefix, inner, _ in entries for name, value in inner.items()}, rebuild_all


def _of(q: dist.Distribution) -> tuple[Named, Rebuild]:
    if isinstance(q, dist.Independent):
        inner, make = _of(q.base_dist)
        return inner, lambda values: dist.Independent(make(values), q.reinterpreted_batch_ndims)
    if isinstance(q, dist.ExpandedDistribution):
        inner, make = _of(q.base_dist)
        return inner, lambda values: make(values).expand(q.batch_shape)
    if isinstance(q, dist.MixtureSameFamily):
        return _of_mixture(q)
    arguments = _arguments(q)
    if arguments is None or not _rebuilds(q, arguments):
        return _of_leaves(q)
    fixed = {name: value for name, value in arguments.items() if not _is_floating(value)}
    moving = {name: jnp.asarray(value, _dtype(value)) for name, value in arguments.items() if _is_floating(value)}
    return moving, lambda values: type(q)(**values, **fixed)


def _of_mixture(q: dist.MixtureSameFamily) -> tuple[Named, Rebuild]:
    weights, make_weights = _of(q.mixing_distribution)
    parts, make_parts = _of(q.component_distribution)
    named = {f"mixing.{n}": v for n, v in weights.items()} | {f"component.{n}": v for n, v in parts.items()}

    def rebuild(values: Named) -> dist.Distribution:
        mixing = make_weights({name: values[f"mixing.{name}"] for name in weights})
        return dist.MixtureSameFamily(mixing, make_parts({name: values[f"component.{name}"] for name in parts}))

    return named, rebuild


def _of_leaves(q: dist.Distribution) -> tuple[Named, Rebuild]:
    flat, structure = jax.tree.flatten(q)
    places = [place for place, leaf in enumerate(flat) if _is_floating(leaf)]
    named = {f"leaf {place}": jnp.asarray(flat[place], _dtype(flat[place])) for place in places}

    def rebuild(values: Named) -> dist.Distribution:
        return jax.tree.unflatten(structure, [values.get(f"leaf {place}", leaf) for place, leaf in enumerate(flat)])

    return named, rebuild


def _rebuilds(q: dist.Distribution, arguments: dict[str, Any]) -> bool:
    """Whether the arguments are all: a random walk, for example, also has a number of steps."""
    with numpyro_rules():
        again = jax.eval_shape(lambda: type(q)(**arguments))
    return jax.tree.structure(again) == jax.tree.structure(q)


# Ways to say the same thing, of which a constructor takes one: the last is what the distribution works with.
_ALTERNATIVES = (
    ("covariance_matrix", "precision_matrix", "scale_tril"),
    ("scale_matrix", "rate_matrix", "scale_tril"),
    ("covariance_row", "covariance_rfft"),
)


def _arguments(q: dist.Distribution, *, given: bool = True) -> dict[str, Any] | None:
    """q's constructor arguments, where they are just its declared parameters.

    Args:
        q: A distribution.
        given: Of several ways to say the same, whether to take the one that was given instead of the one it works with.
    """
    if any(isinstance(value, dist.Distribution) for name, value in vars(q).items() if not name.startswith("_")):
        named = {name: getattr(q, name) for name in q.arg_constraints if name in vars(q)}
        if type(q) is dist.TransformedDistribution or not named or not q.arg_constraints:
            return None
    arguments = {name: vars(q)[name] for name in q.arg_constraints if name in vars(q)}
    for group in _ALTERNATIVES:
        known = [name for name in group if name in arguments]
        for name in known[1:] if given else known[:-1]:
            del arguments[name]
    signature = inspect.signature(type(q)).parameters
    required = {
        name for name, parameter in signature.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }  # fmt: skip
    return arguments if arguments and required <= set(arguments) <= set(signature) else None


def _is_floating(value: Any) -> bool:
    return isinstance(value, float) or (
        eqx.is_array_like(value) and jnp.issubdtype(jnp.result_type(value), jnp.floating)
    )


def _dtype(value: Any) -> Any:
    return jnp.result_type(float) if isinstance(value, float) else jnp.result_type(value)


def elements(q: dist.Distribution) -> tuple[Named, Rebuild] | None:
    """The parameters of the elements of a distribution of batch shape (k,), and how to build one element."""
    inner, wrap = (q.base_dist, q.reinterpreted_batch_ndims) if isinstance(q, dist.Independent) else (q, 0)
    arguments = _arguments(inner, given=False)
    if arguments is None or not all(_is_floating(value) for value in arguments.values()):
        return None
    batch = inner.batch_shape
    parameters = {}
    for name, value in arguments.items():
        event = inner.arg_constraints[name].event_dim
        array = jnp.asarray(value, _dtype(value))
        tail = array.shape[array.ndim - event :] if event else ()
        parameters[name] = jnp.broadcast_to(array, batch + tail)

    def rebuild(values: Named) -> dist.Distribution:
        one = type(inner)(**values)
        return dist.Independent(one, wrap) if wrap else one

    return parameters, rebuild
