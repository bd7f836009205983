"""What was run for the paper's claims; each experiment's TOML stands beside its code."""
