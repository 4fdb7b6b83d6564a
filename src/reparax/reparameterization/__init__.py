"""How a sample depends on the parameters of its distribution, as a derivative.

`rsample` draws samples that can be differentiated, `parameter_rules` says how per parameter, `rule` teaches a new
family.
"""

from reparax.reparameterization import (  # noqa: F401  (they register their rules)
    _beta_families,
    _composed,
    _gamma_families,
    _inverse_cdf,
    _location_scale,
    _mixture,
    _multivariate_normal,
    _student_von_mises,
    _truncated,
    _uniform,
)
from reparax.reparameterization._composed import composed
from reparax.reparameterization._implicit import implicit
from reparax.reparameterization._rsample import rsample
from reparax.reparameterization._rule import ParameterRule, declared, is_reparameterizable, parameter_rules, rule
from reparax.reparameterization._unwrap import innermost, is_discrete, is_masked

__all__ = [
    "ParameterRule", "composed", "declared", "implicit", "innermost", "is_discrete", "is_masked",
    "is_reparameterizable", "parameter_rules", "rsample", "rule",
]  # fmt: skip
