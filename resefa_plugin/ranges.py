"""Lists of seeds and layers in the host's notation: `0,1,4-6`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

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
            raise ResefaError(f"'{text}' is not a list of {what}: expected numbers and ascending ranges like 0,1,4-6"
                              f'{_meant(text)}')
        span = range(int(match[1]), int(match[2] or match[1]) + 1)
        if len(numbers) + (span.stop - span.start) > MAX_NUMBERS:
            raise ResefaError(f"'{text}' names more than {MAX_NUMBERS:,} {what}")
        numbers.extend(span)
    return numbers


def format_ranges(numbers: Sequence[int]) -> str:
    """`[0, 1, 4, 5, 6]` -> `0,1,4-6`: what `parse_ranges` reads."""
    starts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(numbers)) if b != a + 1)]
    spans = [numbers[start:end] for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True)]
    return ','.join(f'{span[0]}-{span[-1]}' if len(span) > 2 else ','.join(map(str, span)) for span in spans if span)


def _meant(text: str) -> str:
    """What a list that is written another way means, as a question; empty where it cannot be told."""
    parts = []
    for part in re.split(r'[\s,;]+', re.sub(r'\s*(\.\.+|:|-|\bto\b)\s*', '-', text.strip(' ,;[](){}'))):
        match = re.fullmatch(r'(?:seed|layer)?(\d{1,9})(?:-(\d{1,9}))?', part)
        if match is None:
            return ''
        ends = sorted(int(number) for number in match.groups() if number is not None)
        parts.append('-'.join(map(str, ends)))
    meant = ','.join(parts)
    return f'; did you mean {meant}?' if meant != text else ''
