"""Every persisted table, one file for each subject; ``schema`` says what a table is, ``catalogue`` lists them all."""
