"""The named parameters of a distribution, and which of them move an edge of its support or a kink of its density."""

import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.extend.core import Jaxpr, Literal
from jaxtyping import Array
from numpyro.distributions import constraints

from reparax.distributions import FromCDF, FromQuantile, LocationScale, Pushforward
from reparax.estimators.draws import is_distribution, numpyro_rules

Named = dict[str, Array]
Rebuild = Callable[[Any], Any]


def named_parameters(q: Any) -> tuple[Named, Rebuild]:
    """The floating parameters of a pytree of distributions, by name, and a function that replaces them.

    Names are those of the distribution (``loc``), preceded by the path in the pytree (``x.loc``) and by ``mixing`` or
    ``component`` inside mixtures. A distribution that cannot be rebuilt from its arguments has its leaves instead.
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
    """Whether the arguments are complete: a random walk, for example, also has a number of steps."""
    with numpyro_rules():
        again = jax.eval_shape(lambda: type(q)(**arguments))
    return jax.tree.structure(again) == jax.tree.structure(q)


# Equivalent arguments, of which a constructor takes one: the last is the one that the distribution uses.
_ALTERNATIVES = (
    ("covariance_matrix", "precision_matrix", "scale_tril"),
    ("scale_matrix", "rate_matrix", "scale_tril"),
    ("covariance_row", "covariance_rfft"),
)


def _arguments(q: dist.Distribution, *, given: bool = True) -> dict[str, Any] | None:
    """The constructor arguments of q, if they are exactly its declared parameters.

    Args:
        q: A distribution.
        given: Of several equivalent arguments, whether to take the one that was given instead of the one that is used.
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


_transforms = dist.transforms
_KINKED = (dist.Laplace, dist.AsymmetricLaplace, dist.AsymmetricLaplaceQuantile)
# Their base and transforms are fixed by numpyro, and the support that they declare is right.
_DECLARED = (
    dist.CirculantNormal, dist.GaussianStateSpace, dist.InverseGamma, dist.InverseWishart, dist.LKJ, dist.LogNormal,
    dist.RelaxedBernoulliLogits, dist.Wishart, dist.ZeroSumNormal,
)  # fmt: skip


class _Image(Enum):
    """What is known of the values after a chain of transforms."""

    ALL = "all of the space: it has no edge"
    POSITIVE = "the positive numbers: their edge is 0"
    OTHER = "something with an edge"


def support_reads(q: dist.Distribution) -> list[bool]:
    """For each leaf of a distribution, whether the support depends on it, or may depend on it."""
    flat, structure = jax.tree.flatten(q)
    moving = {id(leaf) for part in parts(q) for leaf in jax.tree.leaves(_edges(part)) if _is_number(leaf)}

    def support(*arguments: Array) -> list[Any]:
        return jax.tree.leaves(jax.tree.unflatten(structure, arguments).support)

    read = dependencies(support, [jnp.asarray(leaf) for leaf in flat])
    return [used or id(leaf) in moving for used, leaf in zip(read, flat, strict=True)]


def kink_reads(q: dist.Distribution) -> list[bool]:
    """For each leaf of a distribution, whether it moves a kink of the density."""
    kinks = {id(leaf) for part in parts(q) for leaf in jax.tree.leaves(_kinks(part)) if _is_number(leaf)}
    return [id(leaf) in kinks for leaf in jax.tree.leaves(q)]


def parts(q: dist.Distribution) -> Iterator[dist.Distribution]:
    """q and every distribution inside it."""
    yield q
    for held in vars(q).values():
        for part in held if isinstance(held, list | tuple) else [held]:
            if isinstance(part, dist.Distribution):
                yield from parts(part)


def _edges(q: dist.Distribution) -> Any:
    """Parameters of q itself, not of the distributions inside it, that may move its support."""
    if isinstance(q, FromQuantile | FromCDF):
        return q.params
    if isinstance(q, LocationScale):
        return _moved_by_shift(_image_of_support(q.base), q.loc, q.scale)
    if isinstance(q, Pushforward):
        # The map may have kinks, where the density jumps: any of its parameters may move them.
        return q.transform
    # numpyro stores bounds twice, as parameters and inside the support: both are the same object.
    named = [vars(q)[name] for name in ("low", "high") if name in vars(q)]
    atom = [q.v] if isinstance(q, dist.Delta) else []
    chain = _through(q.transforms, _image_of_support(q.base_dist))[0] if _is_followed(q) else []
    return [named, atom, chain, q.support]


def _is_followed(q: dist.Distribution) -> bool:
    return isinstance(q, dist.TransformedDistribution) and type(q) not in _DECLARED


def _kinks(q: dist.Distribution) -> Any:
    if isinstance(q, _KINKED):
        return q.loc
    moved_by = q.transforms if isinstance(q, dist.TransformedDistribution) else None
    moved_by = [q.loc, q.scale] if isinstance(q, LocationScale) else moved_by
    return moved_by if any(isinstance(part, _KINKED) for part in parts(q)) else None


def _image_of_support(q: dist.Distribution) -> _Image:
    if isinstance(q, FromQuantile | FromCDF | Pushforward):
        return _Image.OTHER
    if isinstance(q, LocationScale):
        return _Image.ALL if _image_of_support(q.base) is _Image.ALL else _Image.OTHER
    if isinstance(q, dist.Independent | dist.ExpandedDistribution | dist.MaskedDistribution):
        return _image_of_support(q.base_dist)
    if _is_followed(q):
        return _through(q.transforms, _image_of_support(q.base_dist))[1]
    mixed = [part for part in parts(q) if part is not q]
    if isinstance(q, dist.MixtureSameFamily | dist.MixtureGeneral):
        images = {_image_of_support(part) for part in mixed if not part.support or not part.support.is_discrete}
        return images.pop() if len(images) == 1 else _Image.OTHER
    return _image_of_constraint(q.support)


def _image_of_constraint(support: Any) -> _Image:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if type(support) in {type(constraints.real), type(constraints.real_vector), type(constraints.real_matrix)}:
        return _Image.ALL
    positive = {type(constraints.positive), type(constraints.nonnegative), type(constraints.softplus_positive)}
    return _Image.POSITIVE if type(support) in positive else _Image.OTHER


def _through(transforms: list[Any], image: _Image) -> tuple[list[Any], _Image]:
    """The parameters of a chain of transforms that may move the edge of its input, and the image of the chain."""
    moving: list[Any] = []
    for transform in flat_transforms(transforms):
        moved, image = _one(transform, image)
        moving.append(moved)
    return moving, image


def flat_transforms(transforms: list[Any]) -> Iterator[Any]:
    """The transforms of a list, with compositions and wrappers expanded."""
    for transform in transforms:
        if isinstance(transform, _transforms.ComposeTransform):
            yield from flat_transforms(transform.parts)
        elif isinstance(transform, _transforms.IndependentTransform):
            yield from flat_transforms([transform.base_transform])
        else:
            yield transform


def _one(transform: Any, image: _Image) -> tuple[Any, _Image]:
    kind = type(transform)
    if kind is _transforms.AffineTransform:
        moved = _moved_by_shift(image, transform.loc, transform.scale)
        return moved, image if image is _Image.ALL else _Image.OTHER
    if kind is _transforms.PowerTransform and image is _Image.POSITIVE:
        return None, image
    if kind is _transforms.ExpTransform:
        return None, _Image.POSITIVE if image is _Image.ALL else _Image.OTHER
    if kind is _transforms.IdentityTransform:
        return None, image
    if image is _Image.ALL:
        # The codomain is the image of all of the space: its parameters are found as those of the support.
        return transform.codomain, _image_of_constraint(transform.codomain)
    return transform, _Image.OTHER


def _moved_by_shift(image: _Image, loc: Any, scale: Any) -> list[Any]:
    return {_Image.ALL: [], _Image.POSITIVE: [loc], _Image.OTHER: [loc, scale]}[image]


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | float)


def dependencies(function: Callable[..., Any], arguments: list[Array]) -> list[bool]:
    """For each argument of a function, whether its results depend on it."""
    with numpyro_rules():
        jaxpr: Jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    needed = {id(v) for v in jaxpr.outvars if not isinstance(v, Literal)}
    for equation in reversed(jaxpr.eqns):
        if any(id(v) in needed for v in equation.outvars):
            needed.update(id(v) for v in equation.invars if not isinstance(v, Literal))
    return [id(v) in needed for v in jaxpr.invars]
