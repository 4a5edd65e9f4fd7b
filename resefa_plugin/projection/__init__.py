"""From a photograph to a sample of a generator: find the face, align it, find the latent that shows it."""
