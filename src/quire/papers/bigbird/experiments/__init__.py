"""BigBird's experiments: for each `<name>.toml`, what is said of it, a function that ran it."""
