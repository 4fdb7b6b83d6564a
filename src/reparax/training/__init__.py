"""One training loop over a pytree, an objective and batches; it knows nothing of autoencoders or tables."""

from reparax.pytrees import BATCH as BATCH
from reparax.training._fit import FitResult as FitResult
from reparax.training._fit import Progress as Progress
from reparax.training._fit import Record as Record
from reparax.training._fit import Status as Status
from reparax.training._fit import cosine_adam as cosine_adam
from reparax.training._fit import fit as fit
from reparax.training._fit import sees_batch as sees_batch
