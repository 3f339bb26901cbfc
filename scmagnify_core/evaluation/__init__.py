"""A network against a ground truth, and methods against each other."""
