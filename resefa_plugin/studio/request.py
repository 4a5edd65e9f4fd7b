"""What a page sent, of which nothing is believed: each value is taken out by its type and within its bounds."""

from __future__ import annotations

import base64
import binascii
import math
import reprlib
from collections.abc import Mapping
from typing import Any

from resefa_plugin.errors import ResefaError
from resefa_plugin.studio.limits import MAX_TEXT, MAX_UPLOAD


class Request:
    """The plain values of a request, by key.

    Every method but `get` raises ResefaError if the value is of another type or out of its bounds, or is missing and
    has no default.

    Args:
        values: what came, as decoded from JSON.
    """

    def __init__(self, values: Mapping[Any, Any]):
        self._values = values

    def get(self, key: str) -> Any:
        """Whatever there is; None if it is missing."""
        return self._values.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        """A text of at most MAX_TEXT characters that can be written down."""
        text = str(self._of_type(key, str, default))
        if len(text) > MAX_TEXT:
            raise ResefaError(f"'{key}' has {len(text)} characters, expected at most {MAX_TEXT}")
        if any('\ud800' <= character <= '\udfff' for character in text):  # which no answer could repeat
            raise ResefaError(f"'{key}' is {_shown(text)}, expected characters of Unicode")
        return text

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number from `low` to `high`."""
        value = int(self._of_type(key, int, default))
        if not low <= value <= high:
            raise ResefaError(f"'{key}' {_shown(value)} is out of range: expected {low} to {high}")
        return value

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`, or None if it is missing or null."""
        return None if self.get(key) is None else self.integer(key, low, high)

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A number from `low` to `high`."""
        value = self._values.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) < 1e300 else math.inf
        if not isinstance(value, float):
            raise self._unexpected(key, float)
        if not math.isfinite(value):
            raise ResefaError(f"'{key}' is {value}, expected a finite number")
        if not low <= value <= high:
            raise ResefaError(f"'{key}' {value:g} is out of range: expected {low:g} to {high:g}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false."""
        return bool(self._of_type(key, bool, default))

    def items(self, key: str, longest: int) -> list[Any]:
        """A list of anything, of at most `longest` items."""
        items = list(self._of_type(key, list, None))
        if len(items) > longest:
            raise ResefaError(f"'{key}' has {len(items)} items, expected at most {longest}")
        return items

    def content(self, key: str) -> bytes:
        """The bytes of a file of at most MAX_UPLOAD, which came as base64 or as a data URL."""
        encoded = str(self._of_type(key, str, None)).rpartition(',')[2]
        if len(encoded) > 4 * -(-MAX_UPLOAD // 3):
            raise ResefaError(f'the file is larger than {MAX_UPLOAD >> 20} MB, the most that the studio takes')
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ResefaError('the file came damaged: try again') from error

    def _of_type(self, key: str, kind: type, default: Any) -> Any:
        value = self._values.get(key, default)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self._unexpected(key, kind)
        return value

    def _unexpected(self, key: str, kind: type) -> ResefaError:
        return ResefaError(f"'{key}' is {_shown(self.get(key))}, expected {kind.__name__}")


def _shown(value: object) -> str:
    """A value as an error tells it: shortened, however large or deep it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return 'a number of thousands of digits'
