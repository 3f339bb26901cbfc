"""Where the steps of a run run, what they report while they run, and what becomes of those that fail."""
