"""The page of a network's named edits: what each does, on a few faces, and on how many it works."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from resefa_plugin.machine.files import replacing
from resefa_plugin.report.page import style, templates


@dataclass(frozen=True)
class EditCard:
    """One edit.

    Attributes:
        more, less: what one sees at positive and at negative strength.
        region: what it changes.
        works, faces: on how many of so many faces it does what it is called.
        rows: of each face the part around the region: at negative strength, unedited, at positive strength.
        outside: mean squared change outside the region at strength 1.
    """

    more: str
    less: str
    region: str
    works: int
    faces: int
    rows: Sequence[Sequence[Image.Image]]
    outside: float


def write_edits_page(path: str | os.PathLike[str], network: str, licence: str, cards: Sequence[EditCard]) -> None:
    """Writes the page as one HTML file; the file is complete or not there."""
    text = templates().get_template('edits.html.j2').render(network=network, licence=licence, cards=cards,
                                                            style=style())
    with replacing(path) as part:
        part.write_text(text, encoding='utf-8', errors='replace')
