"""Data with a planted network, and a genome to go with it."""
