"""The networks that metrics and labels need, as our own code."""
