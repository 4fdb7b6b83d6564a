"""Programs of dependent draws: draws inside scan, while_loop, cond and vmap, and costs weighted by the upstream draws.

`simulate` runs a program that is written with `draw` and `cost`. The derivative of its result is unbiased; a program
for which it would not be is refused. `explain` says how each draw is differentiated, and why.
"""

from reparax.programs._simulate import Plan as Plan
from reparax.programs._simulate import Site as Site
from reparax.programs._simulate import explain as explain
from reparax.programs._simulate import simulate as simulate
from reparax.programs._sites import cost as cost
from reparax.programs._sites import draw as draw
from reparax.programs._sites import join as join
from reparax.programs._weighting import Upstream as Upstream
