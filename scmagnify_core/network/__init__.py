"""The network as a value, and the tests of its edges."""
