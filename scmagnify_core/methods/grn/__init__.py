"""Families that infer a network; no family imports another."""
