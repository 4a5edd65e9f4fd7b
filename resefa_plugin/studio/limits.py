"""What a page may ask for at most: checked here, and told to the page, which repeats none of it."""

from __future__ import annotations

from typing import Any

from resefa_plugin.hooks.base import MAX_SEED
from resefa_plugin.regions.partition import NAME, NAME_RULE
from resefa_plugin.studio.work.findings import END_STRENGTH
from resefa_plugin.studio.work.state import MAX_REGIONS, MAX_STRENGTH

MAX_UPLOAD = 24 << 20  # bytes: photographs are the largest of what is uploaded
MAX_REQUEST = 2 * MAX_UPLOAD  # bytes: an upload as base64, and room
MAX_FACES = 50  # in a photograph, of which one is chosen
MAX_TEXT = 1000  # characters of a name or a list of layers; those of a file are bounded by MAX_UPLOAD
MAX_COUNT = 2 ** 53 - 1  # of what nothing else bounds, such as the number of a job: as far as a page counts exactly
SLIDER_STRENGTH = 5.0  # to the left and right end of a slider; a typed strength goes as far as MAX_STRENGTH
TRUNCATION = -2.0, 2.0  # what the page's field takes: beyond it there are no pictures to be seen


def page_limits() -> dict[str, Any]:
    """The limits that the page's fields and messages state, as plain values."""
    return {
        'seed': MAX_SEED, 'truncation': list(TRUNCATION), 'strength': MAX_STRENGTH, 'slider_strength': SLIDER_STRENGTH,
        'end_strength': END_STRENGTH, 'regions': MAX_REGIONS, 'region_name': NAME, 'region_name_rule': NAME_RULE,
        'upload_bytes': MAX_UPLOAD,
    }
