"""Networks, the state of a GAN in training, checkpoints."""
