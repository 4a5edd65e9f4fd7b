"""Lists of seeds and layers in the host's notation: `0,1,4-6`."""

from __future__ import annotations

import re

from resefa_plugin.errors import ResefaError

MAX_NUMBERS = 100_000  # more are a slip of the keyboard, and would fill the memory


def parse_ranges(text: str, what: str) -> list[int]:
    """`'0,1,4-6'` -> `[0, 1, 4, 5, 6]`.

    Args:
        what: what the numbers are, in the plural, for errors: `seeds`.

    Raises:
        ResefaError: it is no such list, or one of more than 100,000 numbers.
    """
    numbers: list[int] = []
    for part in text.split(','):
        match = re.fullmatch(r'\s*(\d+)(?:-(\d+))?\s*', part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise ResefaError(f"'{text}' is not a list of {what}: expected numbers and ascending ranges like 0,1,4-6")
        span = range(int(match[1]), int(match[2] or match[1]) + 1)
        if len(numbers) + (span.stop - span.start) > MAX_NUMBERS:
            raise ResefaError(f"'{text}' names more than {MAX_NUMBERS:,} {what}")
        numbers.extend(span)
    return numbers
