"""What a run shows: console output, report.html, sample grids, TensorBoard."""
