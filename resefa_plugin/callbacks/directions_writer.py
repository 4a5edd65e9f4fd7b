"""Saves each directions file as soon as it is there."""

from __future__ import annotations

import dataclasses
import pathlib

from typing_extensions import override

from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.factorizer.results import RegionResult


class DirectionsWriter(Callback):
    """Writes `seed0000-mouth.npz`, ...

    Args:
        outdir: the folder of the run.
        command: the command line, for the record in the files; empty where there was none.
    """

    def __init__(self, outdir: pathlib.Path, command: str = ''):
        self.outdir, self.command = outdir, command

    @override
    def on_region_end(self, result: RegionResult) -> None:
        metadata = dataclasses.replace(result.directions.metadata, command=self.command)
        result.directions = dataclasses.replace(result.directions, metadata=metadata)
        result.directions.save(self.outdir / f'{result.name}.npz')
