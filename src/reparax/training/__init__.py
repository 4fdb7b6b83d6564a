"""One training loop over a pytree, an objective and batches; it knows nothing of autoencoders or tables."""

from reparax.pytrees import BATCH as BATCH
from reparax.training._checkpoints import SECONDS as SECONDS
from reparax.training._checkpoints import Checkpoints as Checkpoints
from reparax.training._checkpoints import has_checkpoints as has_checkpoints
from reparax.training._checkpoints import remove as remove
from reparax.training._curve import LEAST_RISE as LEAST_RISE
from reparax.training._curve import LEVELED as LEVELED
from reparax.training._curve import kept_record as kept_record
from reparax.training._curve import late_rise as late_rise
from reparax.training._curve import rise_at_end as rise_at_end
from reparax.training._fit import FitResult as FitResult
from reparax.training._fit import Run as Run
from reparax.training._fit import fit as fit
from reparax.training._fit import sees_batch as sees_batch
from reparax.training._loop import Stop as Stop
from reparax.training._many import Ended as Ended
from reparax.training._many import Result as Result
from reparax.training._many import fit_many as fit_many
from reparax.training._optimizer import cosine_adam as cosine_adam
from reparax.training._record import Progress as Progress
from reparax.training._record import Record as Record
from reparax.training._record import Status as Status
