"""How a sample depends on the parameters of its distribution, as a derivative.

`rsample` draws samples that can be differentiated, `parameter_rules` says how per parameter, `rule` teaches a new
family.
"""

from reparax.reparameterization import (  # noqa: F401  (they register their rules)
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
