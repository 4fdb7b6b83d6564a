"""How a sample depends on the parameters of its distribution, as a derivative.

`rsample` draws samples that can be differentiated, `parameter_rules` says how per parameter, `rule` teaches a new
family.
"""

from reparax.reparameterization import _composed, _location_scale, _uniform  # noqa: F401  (they register their rules)
from reparax.reparameterization._rsample import rsample
from reparax.reparameterization._rule import ParameterRule, declared, is_reparameterizable, parameter_rules, rule

__all__ = ["ParameterRule", "declared", "is_reparameterizable", "parameter_rules", "rsample", "rule"]
