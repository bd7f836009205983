"""What the paper of supermasks in superposition says and what was run to see it."""
