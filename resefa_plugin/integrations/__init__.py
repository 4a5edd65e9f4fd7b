"""Adapters to other people's frameworks. None is imported by the rest of the package."""
