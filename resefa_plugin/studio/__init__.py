"""The studio: draw a region on a sample, move sliders. Everything but `page` and `server` works without a browser."""
