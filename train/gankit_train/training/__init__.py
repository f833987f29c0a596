"""Training: setup, the loop, steps and losses."""
