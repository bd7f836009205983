"""Reports of what was measured: lines on a terminal, Markdown tables, figures, a static site.

Importing this package imports neither matplotlib nor jinja2; drawing and building do.
"""
