"""What the paper of Gradient Origin Networks says and what was run to see it."""
