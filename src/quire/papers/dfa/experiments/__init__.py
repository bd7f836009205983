"""What the papers on direct feedback alignment say, and what was run of it."""
