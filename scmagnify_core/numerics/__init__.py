"""Numerical methods that know nothing of networks or files: regressions, statistics, surrogate data."""
