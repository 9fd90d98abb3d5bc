"""Reports: arms, metrics, seeds, curves, pictures and claims; as a table, a page and a file of results.

Importing this package imports neither torch nor matplotlib.
"""

from tutelage.report.intervals import interval, t_quantile
from tutelage.report.parts import Claim, Curve, Picture
from tutelage.report.report import Report
from tutelage.report.results import markdown_page, markdown_table, read_results, write_between_markers, write_result
from tutelage.report.tables import lower_is_better
from tutelage.report.versions import versions

__all__ = [
    "Claim",
    "Curve",
    "Picture",
    "Report",
    "interval",
    "lower_is_better",
    "markdown_page",
    "markdown_table",
    "read_results",
    "t_quantile",
    "versions",
    "write_between_markers",
    "write_result",
]
