"""Devices, processes and random numbers: what everything else computes with."""
