"""The derivative of a picture with respect to its latent: products, matrix, Gram matrices."""
