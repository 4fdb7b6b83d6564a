"""HTML reports on fitted models; see `report`."""

from reparax.extras import extras

with extras():
    from reparax.reports.findings import Finding as Finding
    from reparax.reports.findings import findings_of as findings_of
    from reparax.reports.leaderboard import leaderboard_picture as leaderboard_picture
    from reparax.reports.report import report as report
    from reparax.reports.report import write as write
    from reparax.reports.study import Origin as Origin
    from reparax.reports.study import Study as Study
    from reparax.reports.study import study_of as study_of
