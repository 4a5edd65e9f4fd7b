"""Generators as the rest of the package sees them: samples, latent spaces, differentiable pictures."""
