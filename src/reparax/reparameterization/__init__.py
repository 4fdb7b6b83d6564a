"""Derivatives of samples with respect to the parameters of their distribution.

`rsample` draws samples that can be differentiated, `parameter_rules` says how for each parameter, and `rule` registers
a new family.
"""

from reparax.reparameterization import (  # noqa: F401  (importing them registers their rules)
    closed_form,
    gamma_rules,
    mixture,
    truncated,
    von_mises,
)
from reparax.reparameterization._rules import (
    ParameterRule,
    composed,
    declared,
    innermost,
    is_discrete,
    is_masked,
    is_reparameterizable,
    parameter_rules,
    rsample,
    rule,
)
from reparax.reparameterization.one_dimensional import implicit

__all__ = [
    "ParameterRule", "composed", "declared", "implicit", "innermost", "is_discrete", "is_masked",
    "is_reparameterizable", "parameter_rules", "rsample", "rule",
]  # fmt: skip
