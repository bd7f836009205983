"""What is said of masks in memories, and what was run to see it."""
