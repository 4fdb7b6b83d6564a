"""What estimators need of distributions: constant draws, log densities, values, logits."""

import math
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from reparax.distributions import OneHotCategorical
from reparax.distributions.discrete import bernoulli_log_prob
from reparax.errors import InvalidEstimator
from reparax.reparameterization import innermost, is_masked, is_reparameterizable, parameter_rules, rsample
from reparax.reparameterization.numerics import widened


def is_distribution(node: Any) -> bool:
    """Whether a node of a pytree is a distribution, so that a pytree of them can be walked."""
    return isinstance(node, dist.Distribution)


def leaves(q: Any) -> list[dist.Distribution]:
    """The distributions of a pytree."""
    return jax.tree.leaves(q, is_leaf=is_distribution)


def numpyro_rules() -> AbstractContextManager[Any]:
    """Lets numpyro broadcast and promote implicitly, even if the user's settings of jax forbid it."""
    stack = ExitStack()
    stack.enter_context(jax.numpy_rank_promotion("allow"))
    stack.enter_context(jax.numpy_dtype_promotion("standard"))
    return stack


def stopped(tree: Any) -> Any:
    """The same pytree, as a constant for differentiation."""
    return jax.tree.map(jax.lax.stop_gradient, tree)


def draw(q: Any, key: jax.Array, num_samples: int) -> Any:
    """Independent draws of a pytree of distributions along a new leading axis, as constants for differentiation."""
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    keys = jax.random.split(key, len(flat))
    draws = [draw_one(leaf, k, (num_samples,)) for leaf, k in zip(flat, keys, strict=True)]
    return jax.tree.unflatten(structure, draws)


def draw_one(q: dist.Distribution, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    """Draws of one distribution, as constants.

    They are made by reparameterization, which is accurate for small shapes, or else by numpyro's sampler.
    """
    constant = stopped(widened(q))
    with numpyro_rules():
        if is_reparameterizable(constant):
            return jax.lax.stop_gradient(rsample(constant, key, sample_shape))
        return jax.lax.stop_gradient(constant.sample(key, sample_shape))


def log_prob(q: Any, z: Any) -> Float[Array, ""]:
    """log q(z) of ONE draw of a pytree of distributions, summed over batch dimensions; nats."""
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    with numpyro_rules():
        terms = [log_prob_of(leaf, value) for leaf, value in zip(flat, structure.flatten_up_to(z), strict=True)]
        return jnp.sum(jnp.stack(terms))


def log_prob_of(q: dist.Distribution, z: Any) -> Float[Array, ""]:
    """log q(z) of ONE draw of one distribution, summed over batch dimensions; nats."""
    q = normalized(widened(q))
    base = innermost(q)
    elementwise = isinstance(base, dist.BernoulliLogits | dist.BinomialLogits)
    return jnp.sum(_log_prob_of_elements(base, z) if elementwise else q.log_prob(z))


def normalized(q: Any) -> Any:
    """The same distributions, with every vector of class probabilities (or mixture weights) divided by its sum.

    numpyro draws from p / sum(p), but its log density is that of p. Every estimator uses p / sum(p) for both, so that
    all have the same derivative in a p that is not normalized: (f_k - E f) / sum(p) in p_k.
    """
    return jax.tree.map(
        lambda node: _normalized(node) if isinstance(node, _ON_THE_SIMPLEX) else node,
        q,
        is_leaf=lambda node: isinstance(node, _ON_THE_SIMPLEX),
    )


_ON_THE_SIMPLEX = (dist.CategoricalProbs, dist.MultinomialProbs)


def _normalized(q: dist.CategoricalProbs | dist.MultinomialProbs) -> dist.Distribution:
    flat, structure = jax.tree.flatten(q)
    return jax.tree.unflatten(structure, [_over_sum(leaf) if leaf is q.probs else leaf for leaf in flat])


def _over_sum(probs: Float[Array, "*s c"]) -> Float[Array, "*s c"]:
    return probs / jnp.sum(probs, axis=-1, keepdims=True)


def probability(q: Any, z: Any) -> Float[Array, ""]:
    """q(z) of ONE draw of a pytree of discrete distributions, differentiable also at a probability of exactly 0 or 1.

    There the probability has a derivative, and its logarithm has none.
    """
    flat, structure = jax.tree.flatten(normalized(widened(q)), is_leaf=is_distribution)
    with numpyro_rules():
        placed = zip(flat, structure.flatten_up_to(z), strict=True)
        return jnp.prod(jnp.stack([_probability(leaf, value) for leaf, value in placed]))


def _probability(q: dist.Distribution, z: Array) -> Float[Array, ""]:
    base = innermost(q)
    if type(base) in {dist.BernoulliProbs, dist.CategoricalProbs}:
        return jnp.prod(_of_elements(base, z))
    return jnp.exp(log_prob_of(q, z))


def probabilities_of_elements(q: dist.Distribution, z: Array) -> Float[Array, "*elements"]:
    """The probability of each element of ONE draw of independent discrete variables.

    Args:
        q: One distribution.
        z: A draw, in the shape of the distribution inside all wrappers.
    """
    with numpyro_rules():
        return _of_elements(innermost(normalized(widened(q))), z)


def _of_elements(base: dist.Distribution, z: Array) -> Float[Array, "*elements"]:
    if type(base) is dist.BernoulliProbs:
        return jnp.where(z == 1, base.probs, 1 - base.probs)
    if type(base) is dist.CategoricalProbs:
        p = jnp.broadcast_to(base.probs, (*z.shape, base.probs.shape[-1]))
        return jnp.take_along_axis(p, z[..., None], axis=-1)[..., 0]
    return jnp.exp(_log_prob_of_elements(base, z))


def _log_prob_of_elements(base: dist.Distribution, z: Array) -> Float[Array, "*elements"]:
    # numpyro computes these two with a clip and an absolute value, both with a kink at a logit of 0, where training
    # often starts: the derivative would be wrong exactly there.
    if isinstance(base, dist.BernoulliLogits):
        return bernoulli_log_prob(base.logits, z)
    if isinstance(base, dist.BinomialLogits):
        smooth = z * base.logits - base.total_count * jax.nn.softplus(base.logits)
        return smooth + jax.lax.stop_gradient(base.log_prob(z) - smooth)
    return base.log_prob(z)


def check_distributions(flat: list[Any], instead_of_a_mask: str) -> None:
    """Refuses leaves that are not distributions, and distributions that cannot be averaged over.

    Args:
        flat: The leaves of q.
        instead_of_a_mask: The cure for a masked distribution.

    Raises:
        InvalidEstimator: There is none, one is something else, or one is masked.
    """
    wrong = [leaf for leaf in flat if not isinstance(leaf, dist.Distribution)]
    if wrong or not flat:
        raise InvalidEstimator(
            expected="q to be a numpyro distribution or a pytree of distributions",
            got=type(wrong[0]).__name__ if wrong else "no distribution",
            cure="pass for example numpyro.distributions.Normal(loc, scale)",
        )
    if any(is_masked(leaf) for leaf in flat):
        raise InvalidEstimator(
            expected="q to be a distribution whose log density is that of its draws",
            got="a masked distribution: a mask changes the log density, but not the draws",
            cure=instead_of_a_mask,
        )


def check_num_samples(num_samples: Any) -> None:
    """Refuses a number of draws that is not a whole number of at least 1.

    Raises:
        InvalidEstimator: It is not.
    """
    is_integer = isinstance(num_samples, int | np.integer) and not isinstance(num_samples, bool)
    if not is_integer or num_samples < 1:
        raise InvalidEstimator(
            expected="num_samples to be a whole number of at least 1, known when the program is traced",
            got=repr(num_samples),
            cure="pass for example num_samples=1; with jax.jit, mark it static",
        )


def not_reparameterizable(q: dist.Distribution) -> str | None:
    """Why a distribution has no pathwise derivative; ``None`` where it has one."""
    refused = [rule for rule in parameter_rules(q) if not rule.differentiable]
    return f"{refused[0].parameter}: {refused[0].reason}" if refused else None


def is_binary(q: dist.Distribution) -> bool:
    """Whether a distribution is a Bernoulli, or a collection of independent ones."""
    return isinstance(innermost(q), dist.BernoulliProbs | dist.BernoulliLogits)


def atoms(q: dist.Distribution) -> Array | None:
    """The values of one element of a finite discrete distribution, shape ``(states, *event)``; ``None`` of others."""
    base = innermost(q)
    if not base.has_enumerate_support:
        return None
    try:
        values = base.enumerate_support(expand=False)
    except NotImplementedError:
        return None
    event = values.ndim - len(base.event_shape)
    return values.reshape(values.shape[:1] + values.shape[event:])


def num_states(q: Any) -> float:
    """The number of joint states of a pytree of distributions; infinite if one of them cannot be enumerated."""
    total = 1.0
    for leaf in leaves(q):
        values = jax.eval_shape(lambda leaf=leaf: atoms(leaf)) if innermost(leaf).has_enumerate_support else None
        if values is None:
            return math.inf
        event = len(innermost(leaf).event_shape)
        elements = math.prod(leaf.shape()[: len(leaf.shape()) - event])
        total *= float(values.shape[0]) ** elements
    return total


def joint_states(q: Any) -> Any:
    """All joint states of a pytree of finite discrete distributions, along a new leading axis."""
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    values = [value for leaf in flat if (value := atoms(leaf)) is not None]
    shapes = [leaf.shape()[: len(leaf.shape()) - value.ndim + 1] for leaf, value in zip(flat, values, strict=True)]
    sizes = [math.prod(shape) for shape in shapes]
    axes = [range(len(value)) for value, size in zip(values, sizes, strict=True) for _ in range(size)]
    # An empty batch has one state. The additional axis in front handles this case.
    grid = np.stack(np.meshgrid(range(1), *axes, indexing="ij"), axis=-1).reshape(-1, 1 + len(axes))[:, 1:]
    columns = np.split(grid, np.cumsum(sizes)[:-1], axis=1)
    states = [
        value[column].reshape((len(grid), *shape, *value.shape[1:]))
        for value, column, shape in zip(values, columns, shapes, strict=True)
    ]
    return jax.tree.unflatten(structure, states)


Categorical = dist.CategoricalProbs | dist.CategoricalLogits | OneHotCategorical


def not_binary(q: dist.Distribution) -> str | None:
    """Why a distribution is not a collection of independent Bernoulli variables."""
    return None if is_binary(q) else f"{type(innermost(q)).__name__} is not a Bernoulli"


def logits_of(q: Any) -> list[Float[Array, "*s"]]:
    """The log-odds of every element of a pytree of Bernoulli distributions, one array per distribution."""
    return [jnp.broadcast_to(innermost(leaf).logits, leaf.shape()) for leaf in leaves(widened(q))]


def binary_log_prob(logits: list[Array], z: list[Array]) -> Float[Array, ""]:
    """log q(z) of one draw: sum of z * logit - softplus(logit)."""
    terms = [jnp.sum(bernoulli_log_prob(logit, value)) for logit, value in zip(logits, z, strict=True)]
    return jnp.sum(jnp.stack(terms))


def uniforms(logits: list[Array], key: jax.Array, num_samples: int) -> list[Float[Array, "n *s"]]:
    """Uniform draws shaped like each of the logits."""
    keys = jax.random.split(key, len(logits))
    return [jax.random.uniform(k, (num_samples, *v.shape), v.dtype) for k, v in zip(keys, logits, strict=True)]


def threshold(u: list[Array], logits: list[Array]) -> list[Array]:
    """1 where u < sigmoid(logit), as a constant, with the dtype of numpyro's draws."""
    dtype = jnp.result_type(int)
    return [(a < jax.nn.sigmoid(jax.lax.stop_gradient(b))[None]).astype(dtype) for a, b in zip(u, logits, strict=True)]


def not_categorical(q: dist.Distribution) -> str | None:
    """Why a distribution is not a collection of independent categorical variables."""
    return None if isinstance(innermost(q), Categorical) else f"{type(innermost(q)).__name__} is not categorical"


def not_one_hot(q: dist.Distribution) -> str | None:
    """Why a distribution is not a collection of independent one-hot vectors, which can be relaxed."""
    base = innermost(q)
    if isinstance(base, OneHotCategorical):
        return None
    hint = " (use distributions.OneHotCategorical)" if isinstance(base, Categorical) else ""
    return f"there are no points between the values of {type(base).__name__}, so that it cannot be relaxed{hint}"


def is_one_hot(q: dist.Distribution) -> bool:
    """Whether the draws are one-hot vectors."""
    return isinstance(innermost(q), OneHotCategorical)


def category_logits(q: dist.Distribution) -> Float[Array, "*s c"]:
    """Log probabilities up to a constant, the classes last, broadcast to the shape of the draws."""
    base = innermost(q)
    shape = q.shape()[: len(q.shape()) - len(base.event_shape)]
    return jnp.broadcast_to(base.logits, (*shape, base.logits.shape[-1]))


def all_logits(q: Any) -> list[Float[Array, "*s c"]]:
    """`category_logits` of every distribution of a pytree."""
    return [category_logits(leaf) for leaf in leaves(widened(q))]


def as_drawn(q: dist.Distribution, index: Int[Array, "*s"]) -> Array:
    """Class numbers in the form of the distribution's draws: integers or one-hot vectors."""
    if is_one_hot(q):
        return jax.nn.one_hot(index, innermost(q).event_shape[0], dtype=innermost(q).logits.dtype)
    return index


def categorical_log_prob(logits: list[Array], index: list[Array]) -> Float[Array, ""]:
    """log q of one draw given as class numbers."""
    terms = [
        jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(logit), chosen[..., None], axis=-1))
        for logit, chosen in zip(logits, index, strict=True)
    ]
    return jnp.sum(jnp.stack(terms))
