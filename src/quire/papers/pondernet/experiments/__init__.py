"""What PonderNet's paper says and what was run to see it: a TOML file and its code side by side."""
