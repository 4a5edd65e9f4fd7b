"""What a comparison is about: a region, and an attribute in it if one is named."""

from __future__ import annotations

import re
from dataclasses import dataclass

from resefa_plugin.errors import ResefaError
from resefa_plugin.regions.partition import RegionPartition, parse_region


@dataclass(frozen=True)
class Row:
    """One row of the table for every method.

    Attributes:
        region: what shall change; its name is the row's.
        attribute: what shall change in it, one of `attributes.ATTRIBUTES`; empty for whatever each method finds there.
        sign: +1 for more of the attribute, -1 for less; 0 without one: then both signs of a direction are averaged.
    """

    region: RegionPartition
    attribute: str = ''
    sign: int = 0

    @property
    def name(self) -> str:
        """The name of the region."""
        return self.region.name


def parse_row(spec: str, image_size: tuple[int, int], attributes: tuple[str, ...] = ()) -> Row:
    """A row of `REGION` or `REGION:ATTRIBUTE+` or `REGION:ATTRIBUTE-`, e.g. `close-eyes=eyes:eyes_open-`.

    Args:
        attributes: names that can be measured.

    Raises ResefaError for an attribute that is not one of these, RegionError for the region.
    """
    match = re.fullmatch(r'(.+):([A-Za-z_]+)([+-])', spec)
    if match is None:
        return Row(parse_region(spec, image_size))
    if match[2] not in attributes:
        raise ResefaError(f"--region={spec}: attribute '{match[2]}' is not one of "
                          f"{', '.join(attributes) or '(none can be measured here)'}")
    return Row(parse_region(match[1], image_size), match[2], 1 if match[3] == '+' else -1)
