"""One person's work in the studio, without any web code."""
