"""What type checkers see of `reparax.networks`; `tests/test_front_door.py` compares it with the folder."""

from reparax.networks._base import AbstractArchitecture as AbstractArchitecture
from reparax.networks._base import Affine as Affine
from reparax.networks._base import LastOf as LastOf
from reparax.networks._base import Network as Network
from reparax.networks._base import OfCounts as OfCounts
from reparax.networks._base import Standardized as Standardized
from reparax.networks._context import Conditioned as Conditioned
from reparax.networks._context import beside_context as beside_context
from reparax.networks._context import conditioned as conditioned
from reparax.networks._context import context_size as context_size
from reparax.networks._context import given as given
from reparax.networks._precision import Feedforward as Feedforward
from reparax.networks._precision import in_dtype_of as in_dtype_of
from reparax.networks._precision import with_bfloat16 as with_bfloat16
from reparax.networks._views import OfViews as OfViews
from reparax.networks._views import of_each_view as of_each_view
from reparax.networks.convolutional import Convolutional as Convolutional
from reparax.networks.mlp import MLP as MLP
from reparax.networks.mlp import Linear as Linear
from reparax.networks.residual import Residual as Residual
