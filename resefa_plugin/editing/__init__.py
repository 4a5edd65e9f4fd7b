"""Moving a sample along directions: what strength means, and how the background is kept."""
