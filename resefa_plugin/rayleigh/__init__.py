"""Solvers of the generalized Rayleigh quotient: which directions change the region most and the rest least."""
