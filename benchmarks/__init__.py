"""Measurements of speed, each in processes of its own, in turn with what it is compared to.

`python -m benchmarks` lists the suites, `python -m benchmarks NAME…` runs them; NOTES.md says what came of it.
"""
