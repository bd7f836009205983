"""Reports of what was measured: Markdown tables, figures, and a static site.

Importing this package imports neither matplotlib nor jinja2; drawing and building do.
"""

from quire.report.figures import save_figures
from quire.report.site import build

__all__ = ["build", "save_figures"]
