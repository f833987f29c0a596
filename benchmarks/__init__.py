"""Measurements of speed, each in processes of its own, interleaved with what it is compared to.

python -m benchmarks training --peer-dir CHECKOUT · python -m benchmarks startup
"""
