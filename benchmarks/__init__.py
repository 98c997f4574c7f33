"""Reproducible comparisons with peers; each script runs as `python -m benchmarks.NAME` and prints JSON."""
