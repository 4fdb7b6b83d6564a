"""What estimators of bounds have in common: they see log q apart from the joint density."""

import abc
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.errors import InvalidEstimator
from reparax.reparameterization import is_reparameterizable

Bound = Literal["elbo", "iwae"]
LogJoint = Callable[[Any], Float[Array, ""]]


class AbstractBoundEstimator(eqx.Module):
    """A rule for differentiating a bound on log p(x) that uses what the bound is made of: log p(x, z) and q.

    To add one, write a file named after it with one class that declares the class variables below and has the methods
    `refusal` and `estimate`.

    Attributes:
        unbiased: Whether derivatives of the estimate are unbiased for those of the bound.
        bounds: The bounds it is valid for: ``"elbo"``, ``"iwae"`` or both.
        differentiates_the_sample: Whether log p(x, z) must be continuous in z.
        holds_parameters: Whether it differentiates log q(z) with the parameters of q held, and so needs the density of
            any z. Where not, q is seen from its base, where log q of own draws is enough.
        minimum_samples: The least number of draws it can work with.
        valid_for: The distributions it is valid for, in words.
        reference: Where it comes from, with the equation number.
    """

    unbiased: eqx.AbstractClassVar[bool]
    bounds: eqx.AbstractClassVar[tuple[Bound, ...]]
    differentiates_the_sample: eqx.AbstractClassVar[bool]
    holds_parameters: eqx.AbstractClassVar[bool]
    minimum_samples: eqx.AbstractClassVar[int]
    valid_for: eqx.AbstractClassVar[str]
    reference: eqx.AbstractClassVar[str]

    @abc.abstractmethod
    def refusal(self, q: dist.Distribution) -> str | None:
        """Why this estimator would be wrong for one distribution; ``None`` where it is valid."""

    def check(self, q: dist.Distribution) -> None:
        """Refuses one distribution that this estimator would be wrong for.

        Raises:
            InvalidEstimator: With the reason and the alternatives.
        """
        reason = self.refusal(q)
        if reason is not None:
            raise InvalidEstimator(
                expected=f"{type(self).__name__} to be used for {self.valid_for}",
                got=reason,
                cure=self._cure(q),
            )

    def _cure(self, q: dist.Distribution) -> str:
        if not self.differentiates_the_sample:
            return "use estimator='pathwise'"
        if is_reparameterizable(q):
            return "use estimator='auto', or give the transform an inverse_and_log_det"
        return "use one of: vimco, leave-one-out"

    @abc.abstractmethod
    def estimate(self, log_joint: LogJoint, q: Any, *, key: jax.Array, num_samples: int, bound: Bound) -> Array:
        """The estimate of the bound, a scalar in nats, from num_samples draws."""
