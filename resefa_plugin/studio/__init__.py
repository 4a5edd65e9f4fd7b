"""The studio: draw a region on a sample, move sliders. Everything but `page` works without gradio."""
