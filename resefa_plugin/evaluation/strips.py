"""Methods side by side on the same held-out pictures."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from resefa_plugin import pictures

STRIP_SAMPLES = 3  # held-out samples on a sheet


def side_by_side(title: str, methods: Sequence[tuple[str, list[list[Image.Image]]]], captions: Sequence[str]) -> Image.Image:
    """A sheet: the unedited pictures, then a row of edited ones for each method.

    Args:
        title: of the sheet.
        methods: names, each with its unedited and its edited pictures. A method may show fewer or other columns (its attribute
            decides the sign); only the first as many as all have are shown.
        captions: of the columns of the first method.
    """
    columns = min(len(edited) for _, (_, edited) in methods)
    rows = [methods[0][1][0][:columns], *(edited[:columns] for _, (_, edited) in methods)]
    return pictures.contact_sheet(rows, ['unedited', *(name for name, _ in methods)], captions[:columns], title)
