"""A data set: read, checked, normalised; its trajectory, its metacells, and the genes that change along it."""
