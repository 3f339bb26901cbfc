"""The ways in for people: the command line, the terminal for SQL, notebooks, and files for other tools."""
