"""Code systems and concept maps: looked up, never guessed (DESIGN §5)."""
