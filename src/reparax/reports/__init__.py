"""Pages on fitted models that one can look at; see `report`."""

from reparax.extras import extras

with extras():
    from reparax.reports._report import report as report
    from reparax.reports._report import write as write
    from reparax.reports._study import Origin as Origin
    from reparax.reports._study import Study as Study
    from reparax.reports._study import study_of as study_of
