"""Network inference, one family per file or folder; families never import each other."""
