"""A class and a Normal given the class, together as one variable."""

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from reparax.distributions.discrete import OneHotCategorical
from reparax.distributions.kl import analytic_kl


class ClassNormal(dist.Distribution):
    """z = (y, u): y one-hot with P(y = e_k) = softmax(logits)_k, and u given y = e_k is N(loc_k, diag(scale_k^2)).

    log q(z) = log P(y) + log N(u; loc_y, scale_y), in nats, with respect to counting in y and to lengths in u.

    Args:
        logits: Of the classes.
        loc: The mean of u for each class.
        scale: Its standard deviation for each class.
    """

    arg_constraints = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
    }
    support = constraints.real_vector
    pytree_data_fields = ("logits", "loc", "scale")

    def __init__(
        self,
        logits: Float[Array, " k"],
        loc: Float[Array, "k d"],
        scale: Float[Array, "k d"],
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.logits, self.loc, self.scale = logits, loc, scale
        super().__init__(event_shape=(jnp.shape(loc)[-2] + jnp.shape(loc)[-1],), validate_args=validate_args)

    @property
    def classes(self) -> OneHotCategorical:
        """The distribution of y."""
        return OneHotCategorical(self.logits)

    @property
    def base(self) -> dict[str, dist.Distribution]:
        """Independent variables of which z is a function: y itself, and standard Normal noise."""
        size = jnp.shape(self.loc)[-1]
        return {"class": self.classes, "noise": dist.Normal(jnp.zeros(size), jnp.ones(size)).to_event(1)}

    def push(self, e: dict[str, Array]) -> tuple[Float[Array, " z"], Float[Array, ""]]:
        """z for one value of the base, and log |det du/de|."""
        y, noise = jnp.asarray(e["class"], self.loc.dtype), e["noise"]
        scale = y @ self.scale
        return jnp.concatenate([y, y @ self.loc + scale * noise]), jnp.sum(jnp.log(scale))

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s z"]:
        for_class, for_noise = jax.random.split(key)
        y = self.classes.sample(for_class, sample_shape)
        noise = jax.random.normal(for_noise, (*sample_shape, jnp.shape(self.loc)[-1]))
        return jax.lax.stop_gradient(jnp.concatenate([y, y @ self.loc + (y @ self.scale) * noise], axis=-1))

    def log_prob(self, value: Float[Array, "*s z"]) -> Float[Array, "*s"]:
        y, u = jnp.split(value, (jnp.shape(self.logits)[-1],), axis=-1)
        given = dist.Normal(y @ self.loc, y @ self.scale).to_event(1)
        return self.classes.log_prob(y) + given.log_prob(u)

    @property
    def mean(self) -> Float[Array, " z"]:
        """The probabilities of the classes, and E[u]."""
        return jnp.concatenate([self.classes.probs, self.classes.probs @ self.loc])

    @property
    def variance(self) -> Float[Array, " z"]:
        """That of each element: p (1 - p) of the classes, and Var[u]."""
        probs = self.classes.probs
        of_u = probs @ (self.scale**2 + (self.loc - probs @ self.loc) ** 2)
        return jnp.concatenate([self.classes.variance, of_u])


@analytic_kl(ClassNormal, ClassNormal)
def _class_normal(q: ClassNormal, p: ClassNormal) -> Array:
    """KL of the classes, plus the mean over q's classes of that of the Normals."""
    log_q, log_p = jax.nn.log_softmax(q.logits), jax.nn.log_softmax(p.logits)
    normals = dist.kl_divergence(dist.Normal(q.loc, q.scale), dist.Normal(p.loc, p.scale))
    return jnp.sum(jnp.exp(log_q) * (log_q - log_p + jnp.sum(normals, axis=-1)))


def with_class(q: ClassNormal, label: Any) -> ClassNormal:
    """The same with a class that is known, or unchanged where the label is negative.

    Args:
        q: The distribution.
        label: The number of the class, or a negative number.
    """
    # Finite, so that 0 times a log probability is 0.
    known = jnp.where(jnp.arange(jnp.shape(q.logits)[-1]) == label, 0.0, -1e9)
    return ClassNormal(jnp.where(label >= 0, known, q.logits), q.loc, q.scale)
