"""Text that comes from files, for terminals and pages."""

from __future__ import annotations


def printable(text: str, most: int = 10_000) -> str:
    """Text in which what does not print is escaped, a terminal's control characters above all; cut at `most`."""
    text = text if len(text) <= most else f'{text[:most]}...'
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)
