"""What must hold of stored results before anything downstream is made of them, and what is unusual."""
