"""Whether a function of random variables is continuous: shown from its code, or refused.

A pathwise derivative is right only where f is continuous in the sample. This room proves it, operation by operation,
on the jaxpr of f, and fails closed: an operation without a rule, a jump that is not shown to vanish and code that
cannot be seen (callbacks) count as jumps.

*Proven.* Per value: which variables it depends on, an interval around it, whether it can take one value with positive
probability, and the changes behind it that have not been shown to be harmless. Sums, products, matrix products,
convolutions, maxima, sorting (the values), analytic functions inside their domains, loops whose number of rounds does
not depend on z, and branches that agree preserve continuity. A comparison, a rounding, a sign, a division by what can
be zero, a logarithm of what can be negative, the order of values and equality of values that can be equal with positive
probability do not.

*Tested numerically.* Where a change is followed by element-by-element operations, both outcomes are compared on the
place where it happens: the equation is solved for one variable, what is left free is drawn at random. The expressions
are analytic in what is free, so that agreement at random points is agreement everywhere, with probability one, up to
the rounding of single precision (relative differences of about 1e-7 cannot be seen).

*Not seen.* Custom derivatives (``custom_jvp``, ``custom_vjp``) are taken at their word, while the values behind
them are judged like any others; values behind ``stop_gradient`` are judged as values, and `Verdict.held_back` says
where the derivative of one is lost. Parameters and data are taken to be finite numbers; overflow is not seen. What
`AssumedContinuous` wraps is not inspected.
"""

from reparax.continuity.check import Reason as Reason
from reparax.continuity.check import Variable as Variable
from reparax.continuity.check import Verdict as Verdict
from reparax.continuity.check import judge as judge
from reparax.continuity.check import judge_draws as judge_draws
from reparax.continuity.check import moved_by as moved_by
from reparax.continuity.expression import ELEMENTWISE as ELEMENTWISE
from reparax.continuity.graph import scan_sizes as scan_sizes
from reparax.continuity.interval import Interval as Interval
from reparax.continuity.markers import AssumedContinuous as AssumedContinuous
from reparax.continuity.markers import drawn as drawn
from reparax.continuity.markers import guarded as guarded
from reparax.continuity.markers import guarded_in as guarded_in
from reparax.continuity.markers import source as source
from reparax.continuity.markers import trusted as trusted
