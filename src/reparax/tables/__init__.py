"""Tables: columns of every kind, what an encoder sees of them, the distribution of a row, its score and imputation.

`adapter_of` says how a model takes its examples: as rows of a table, as arrays and images, or as several of these.
"""

from reparax.tables._adapter import Adapter as Adapter
from reparax.tables._adapter import TableAdapter as TableAdapter
from reparax.tables._adapter_of import adapter_of as adapter_of
from reparax.tables._adapter_of import is_for_rows as is_for_rows
from reparax.tables._distribution import RowDistribution as RowDistribution
from reparax.tables._donors import Donors as Donors
from reparax.tables._family import AbstractCells as AbstractCells
from reparax.tables._family import AbstractColumnFamily as AbstractColumnFamily
from reparax.tables._features import TableFeatures as TableFeatures
from reparax.tables._features import condition_features as condition_features
from reparax.tables._features import hiding as hiding
from reparax.tables._features import num_condition_features as num_condition_features
from reparax.tables._features import num_features as num_features
from reparax.tables._hiding import HidingCells as HidingCells
from reparax.tables._hiding import HidingViews as HidingViews
from reparax.tables._layout import Layout as Layout
from reparax.tables._score import NUM_PRIOR_DRAWS as NUM_PRIOR_DRAWS
from reparax.tables._score import RADII as RADII
from reparax.tables._score import prior_draws as prior_draws
from reparax.tables._transform import rounding as rounding
from reparax.tables._views import ViewsAdapter as ViewsAdapter
from reparax.tables.categories import Categories as Categories
from reparax.tables.columns import Columns as Columns
from reparax.tables.columns import ColumnsDecoder as ColumnsDecoder
from reparax.tables.cyclic import Cyclic as Cyclic
from reparax.tables.gaps import Gaps as Gaps
from reparax.tables.numbers import Numbers as Numbers
from reparax.tables.views import ByView as ByView
from reparax.tables.views import ByViewDecoder as ByViewDecoder
from reparax.tables.views import chosen_views as chosen_views
