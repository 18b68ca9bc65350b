"""Training: clips, one loop, and one file for each kind of recipe."""
