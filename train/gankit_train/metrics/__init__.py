"""How good generated images are, measured without a pretrained network."""
