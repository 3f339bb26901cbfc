"""The platform at work: the graph run without a UI, and the processes behind `scmagnify ui`."""
