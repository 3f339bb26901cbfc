"""The asset graph: each module has the name of core's module whose values it makes.

An asset takes values and settings, calls core, adds what the UI should show, and returns core's value. It neither
reads nor writes storage: that is the IO manager's part.
"""
