"""Figures: one file per thing drawn; a table in, a matplotlib ``Figure`` out."""
