"""What the paper claims, as experiments."""
