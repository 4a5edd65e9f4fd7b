"""Where published packages have photographs of people that may be used to try things: what is fetched, hashes, licence.

Packages with portraits of unclear origin, such as those of famous actors, are left out.
"""

from __future__ import annotations

import pathlib

from resefa_plugin.third_party.assets import Asset

_ASTRONAUT = 'skimage/data/astronaut.png'
# Eileen Collins, by NASA, 512 x 512 pixels.
ASTRONAUT = Asset(
    name='example-astronaut',
    client='pip-linux',
    requirement='scikit-image==0.24.0',
    archive_sha256='8579bda9c3f78cb3b3ed8b9425213c53a25fa7e994b7ac01f2440b395babf660',
    files={_ASTRONAUT: '88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5'},
    licence='a photograph by NASA, in the public domain, of the package scikit-image (BSD)',
)

_DEMO = 'package/demo/sample{}.jpg'
# Six pictures of three to five people each, 1920 pixels wide.
GROUPS = Asset(
    name='example-groups',
    client='npm',
    requirement='@vladmandic/face-api@1.7.15',
    archive_sha256='0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031',
    files={
        _DEMO.format(1): '8ecae4b267b2d3169e06e00c7dee97097aa2a94635d45216f7732a5f4943cb51',
        _DEMO.format(2): '7d2b60ae6f13bf30f422e04df87451081a02c83de469056f25afb44b7000c691',
        _DEMO.format(3): '8eb081c9efb14370fa94d9feab9e5fbeafd19a627491853a80c2bf67f7ffa936',
        _DEMO.format(4): '729efa5923061d40eb4ed5f267a18cc7b8ba6f852bb2757b16d8b7e4937476fc',
        _DEMO.format(5): '6d45095ebb182d8f975c0790e0e4eefd86fbb40609cf4b271776d92e12662938',
        _DEMO.format(6): '9baad80f9d5e306fb9b8c0913d44445f1e95848df317530efb03d0934c57ba87',
    },
    licence='photographs by the author of the package @vladmandic/face-api, MIT as the package',
)


def astronaut() -> pathlib.Path:
    """The portrait. Raises CheckpointError if it cannot be had."""
    return ASTRONAUT.fetch()[_ASTRONAUT]


def group(number: int) -> pathlib.Path:
    """One of the six pictures of several people, from 1 on. Raises CheckpointError if it cannot be had."""
    return GROUPS.fetch()[_DEMO.format(number)]
