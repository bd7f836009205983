"""What is said of 2 + 2 and what was run to see it."""
