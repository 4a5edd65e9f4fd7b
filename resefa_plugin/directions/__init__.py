"""Sets of directions with where they come from, and the files of other tools."""
