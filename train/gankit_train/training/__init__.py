"""Training: steps, losses and the loop."""
