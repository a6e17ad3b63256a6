"""Algorithms and counters shared by the limit-* plugins."""
