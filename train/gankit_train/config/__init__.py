"""The settings of a run, the variants and the presets. Nothing here imports torch."""
