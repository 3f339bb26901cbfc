"""The asset graph: what an asset is, how its value is stored, the assets themselves and their checks."""
