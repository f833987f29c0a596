"""The suites, a module for each; `table` lists them.

Nothing is imported here: a suite's module is also imported by the processes that measure, whose start is timed.
"""
