"""Benchmarks of speed and memory: gankit versus other implementations and versus the peak rates of the machine.

`python -m benchmarks --help` lists the commands. docs/benchmarks.md has the results and explains how they are measured;
benchmarks/NOTES.md lists what was tried for speed.
"""
