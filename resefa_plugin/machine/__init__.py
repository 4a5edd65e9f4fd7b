"""Files, arrays, memory and processes."""
