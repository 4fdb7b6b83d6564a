"""Recipes: all choices of a fit as JSON, rules that suggest them, and the fitted model."""

from reparax.recipe._build import build as build
from reparax.recipe._build import objective as objective
from reparax.recipe._fitted import BesideContext as BesideContext
from reparax.recipe._fitted import FittedModel as FittedModel
from reparax.recipe._fitted import Units as Units
from reparax.recipe._given import given_numbers as given_numbers
from reparax.recipe._given import given_size as given_size
from reparax.recipe._guarantee import Guarantee as Guarantee
from reparax.recipe._recipe import DELTA as DELTA
from reparax.recipe._recipe import Binarize as Binarize
from reparax.recipe._recipe import Choice as Choice
from reparax.recipe._recipe import Chosen as Chosen
from reparax.recipe._recipe import ChosenPart as ChosenPart
from reparax.recipe._recipe import Recipe as Recipe
from reparax.recipe._recipe import Settings as Settings
from reparax.recipe._recipe import TableSettings as TableSettings
from reparax.recipe._recipe import checked as checked
from reparax.recipe._recipe import choice as choice
from reparax.recipe._recipe import name_of as name_of
from reparax.recipe._recipe import part_of as part_of
from reparax.recipe._suggest import held_out_share as held_out_share
from reparax.recipe._suggest import suggest as suggest
