"""Our own generators, equal to the official ones."""
