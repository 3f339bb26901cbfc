"""Data sets before and after they are registered: their settings, their files, their partitions."""
