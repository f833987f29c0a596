"""Evaluates trained generators and diagnoses training runs."""
