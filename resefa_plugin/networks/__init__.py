"""Generators of our own, which take the states of the official ones and are written for forward-mode AD."""
