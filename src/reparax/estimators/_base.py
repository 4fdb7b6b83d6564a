"""What every estimator of an expectation, or of a bound on log p(x), has in common, and how to add one."""

import abc
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.errors import InvalidEstimator
from reparax.estimators._integrand import Integrand as Integrand
from reparax.reparameterization import is_reparameterizable

Level = Literal["enumerate", "score", "pathwise", "term by term"]
LEVELS: tuple[Level, ...] = ("enumerate", "score", "pathwise", "term by term")
Bound = Literal["elbo", "iwae"]
LogJoint = Callable[[Any], Float[Array, ""]]


class AbstractEstimator(eqx.Module):
    """A rule for differentiating E_q[f(z)]: a value, whose derivative is an estimate of the derivative.

    To add one, write a class in a file of this folder that declares the class variables below and has the methods
    `refusal` and `estimate`; its options are fields. The command line, `compare`, `tune` and the tests find it there.
    Its name is that of its class, "leave-one-out" for `LeaveOneOut`, unless it declares ``name: ClassVar[str]``.

    Attributes:
        unbiased: Whether derivatives of the estimate, of any order, are unbiased.
        level: The order of nesting if an expectation has several estimators: enumeration outermost, then the score
            function, then pathwise, and innermost those that separate f into its terms.
        minimum_samples: The least number of draws that it works with.
        valid_for: The distributions and functions it is valid for, in words.
        reference: Where it comes from, with the equation number.
    """

    unbiased: eqx.AbstractClassVar[bool]
    level: eqx.AbstractClassVar[Level]
    minimum_samples: eqx.AbstractClassVar[int]
    valid_for: eqx.AbstractClassVar[str]
    reference: eqx.AbstractClassVar[str]

    @abc.abstractmethod
    def refusal(self, q: dist.Distribution) -> str | None:
        """Why this estimator would be wrong for one distribution; ``None`` if it is valid."""

    @abc.abstractmethod
    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        """The estimate of E_q[f(z)] for a pytree of independent distributions, all treated by this estimator.

        Args:
            f: The integrand, called as ``f(z, key)`` for ONE draw; z has the structure of q.
            q: A pytree of distributions.
            key: The random key.
            num_samples: The number of draws, at least `minimum_samples`.
        """

    def evaluations(self, q: Any, num_samples: int) -> int:
        """How many times f is evaluated (its cost, apart from derivatives)."""
        return num_samples

    @property
    def differentiates_the_sample(self) -> bool:
        """Whether f is differentiated with respect to z, so that it must be continuous in z."""
        return self.level == "pathwise"

    @property
    def counts_jumps(self) -> bool:
        """Whether derivatives are right if f jumps at a location that depends on what is differentiated."""
        return False


class AbstractBoundEstimator(eqx.Module):
    """A rule for differentiating a bound on log p(x), which takes log p(x, z) and q separately.

    To add one, write a class in a file of this folder that declares the class variables below and has the methods
    `refusal` and `estimate`.

    Attributes:
        unbiased: Whether derivatives of the estimate are unbiased estimates of those of the bound.
        bounds: The bounds it is valid for: ``"elbo"``, ``"iwae"`` or both.
        differentiates_the_sample: Whether log p(x, z) must be continuous in z.
        holds_parameters: Whether it differentiates log q(z) with the parameters of q held constant, and so needs the
            density at any z. Otherwise the expectation is one over the base of q, and log q is needed only at draws.
        minimum_samples: The least number of draws that it works with.
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
        """Why this estimator would be wrong for one distribution; ``None`` if it is valid."""

    def check(self, q: dist.Distribution) -> None:
        """Refuses a distribution for which this estimator would be wrong.

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
