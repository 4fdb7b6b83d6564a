"""The recipe: a frozen, JSON-able choice of parts with few dials; the one place that knows every room."""

from reparax.recipe._build import build as build
from reparax.recipe._build import objective as objective
from reparax.recipe._choice import Choice as Choice
from reparax.recipe._choice import part_of as part_of
from reparax.recipe._chosen import Chosen as Chosen
from reparax.recipe._chosen import Settings as Settings
from reparax.recipe._fitted import FittedModel as FittedModel
from reparax.recipe._recipe import Recipe as Recipe
from reparax.recipe._recipe import checked as checked
from reparax.recipe._suggest import held_out_share as held_out_share
from reparax.recipe._suggest import suggest as suggest
from reparax.recipe._units import BesideContext as BesideContext
from reparax.recipe._units import Units as Units
