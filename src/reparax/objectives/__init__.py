"""The objectives, one file each, found by their files' names; `AbstractObjective` says how to add one."""

from reparax.objectives._base import AbstractObjective as AbstractObjective
from reparax.objectives._base import ObjectiveDials as ObjectiveDials
from reparax.objectives._base import Schedule as Schedule
from reparax.objectives._base import Terms as Terms
from reparax.objectives._base import check_objective as check_objective
from reparax.objectives._base import constant as constant
from reparax.objectives._hiding import HidingCells as HidingCells
from reparax.registry import lazy_parts

__getattr__, __dir__ = lazy_parts(__name__)
