"""Whether a function of random variables is continuous: proven from its code, or refused.

A pathwise derivative is right only if f is continuous in the sample. This package proves continuity on the jaxpr of f,
operation by operation. An operation without a rule, a jump that is not shown to vanish, and code that cannot be
inspected (callbacks) count as jumps.

*Proven.* For each value: the variables on which it depends, an interval that contains it, whether it can equal one
number with positive probability, and the changes in its operands that are not yet shown to be harmless. Sums, products,
matrix products, convolutions, maxima, sorting (the values), analytic functions inside their domains, loops whose number
of rounds does not depend on z, and branches that agree preserve continuity. Comparisons, rounding, signs, division by
values that can be zero, logarithms of values that can be negative, the order of values, and equality of values that can
be equal with positive probability do not.

*Tested numerically.* If only elementwise operations follow a change, both outcomes are compared where it occurs: the
equation is solved for one variable, and all other free values are drawn at random. The expressions are analytic in the
free values, so that agreement at random points means agreement everywhere, with probability one, up to rounding in
single precision (relative differences of about 1e-7 are not noticed).

*Not checked.* Custom derivatives (``custom_jvp``, ``custom_vjp``) are trusted, but the values that they compute are
judged like any others. Values behind ``stop_gradient`` are judged as values, and `Verdict.held_back` says where a
derivative is lost. Parameters and data are assumed to be finite; overflow is not noticed. A function wrapped in
`AssumedContinuous` is not inspected.
"""

from reparax.continuity.check import Reason as Reason
from reparax.continuity.check import Variable as Variable
from reparax.continuity.check import Verdict as Verdict
from reparax.continuity.check import judge as judge
from reparax.continuity.check import judge_draws as judge_draws
from reparax.continuity.check import moved_by as moved_by
from reparax.continuity.expression import ELEMENTWISE as ELEMENTWISE
from reparax.continuity.interval import Interval as Interval
from reparax.continuity.markers import AssumedContinuous as AssumedContinuous
from reparax.continuity.markers import drawn as drawn
from reparax.continuity.markers import guarded as guarded
from reparax.continuity.markers import guarded_in as guarded_in
from reparax.continuity.markers import source as source
from reparax.continuity.markers import trusted as trusted
