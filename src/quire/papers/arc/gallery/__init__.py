"""Pages to look at tasks, predictions and programs (`gallery`), and grids as SVG (`drawing`)."""
