"""Pickled dictionaries of numpy arrays, as flax writes them, read as data: nothing in them is executed."""

from __future__ import annotations

import os

from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.checkpoints.pickles.inert_pickle import Budget, load_inert, naming
from resefa_plugin.checkpoints.pickles.plain_data import NUMPY_HANDLERS, Decoder
from resefa_plugin.errors import CheckpointError


def read_numpy_pickle(path: str | os.PathLike) -> dict:
    """Reads nested dictionaries of arrays. Raises CheckpointError if the file holds anything else."""
    source = read_source(path)
    with naming(source.name):
        budget = Budget(len(source.data))
        root, _ = load_inert(memoryview(source.data), budget)
        tree = Decoder(NUMPY_HANDLERS, budget).plain(root)
        if not isinstance(tree, dict):
            raise CheckpointError('is not a dictionary of arrays')
        return tree
