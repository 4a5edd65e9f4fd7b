"""Directions of a toy, and their file with parts of it replaced."""

from __future__ import annotations

import dataclasses
import json
import types

import numpy as np
import pytest

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.metadata import DirectionMetadata
from resefa_plugin.errors import DirectionsError, ResefaError

K, D, H, W = 3, 8, 6, 4


def make_metadata(**changes) -> DirectionMetadata:
    values = dict(
        network='toy.pkl', network_sha256='ab' * 32, image_shape=(3, H, W), space='w', layers=None, num_ws=5,
        region='mouth', seeds=(7,), truncation_psi=.7, truncation_cutoff=None, resolution=6, tau=1e-3, ridge=.25,
        solver='dense', command='resefa factorize --network=toy.pkl')
    return DirectionMetadata(**{**values, **changes})


def make_set(**changes) -> DirectionSet:
    random = np.random.RandomState(0)
    directions = random.randn(K, D)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    mask = np.zeros((H, W), bool)
    mask[2:4, 1:3] = True
    values = dict(
        directions=directions.astype(np.float32), eigenvalues=np.array([8.7, 1.65, .4]), residuals=np.full(K, 1e-12),
        mask=mask, latent=random.randn(1, 5, D).astype(np.float32), step=np.array([.1, .2, .3]),
        predicted_inside=np.full(K, .01), predicted_outside=np.full(K, 1e-4), measured_inside=np.full(K, .011),
        measured_outside=np.full(K, 2e-4), metadata=make_metadata())
    return DirectionSet(**{**values, **changes})


ARRAY_NAMES = [field.name for field in dataclasses.fields(DirectionSet) if field.name != 'metadata']


def write_npz(path, metadata=None, **arrays) -> None:
    """A directions file with some parts replaced, written without the checks of DirectionSet."""
    good = make_set()
    text = good.metadata.to_json() if metadata is None else metadata
    np.savez(path, **{'metadata': np.array(text), **{name: getattr(good, name) for name in ARRAY_NAMES}, **arrays})


def edited_json(**changes) -> str:
    values = json.loads(make_metadata().to_json())
    return json.dumps({**values, **changes})


def load_error(path, match):
    with pytest.raises(DirectionsError, match=match) as caught:
        DirectionSet.load(path)
    assert str(path) in str(caught.value)


def fake_hook(sha256='ab' * 32, image_shape=(3, H, W), dim=D, spaces=('z', 'w')):
    """What `check_fits` asks of a generator."""
    def space(name, layers=None):
        if name not in spaces:
            raise ResefaError(f"space '{name}' is not one of {', '.join(spaces)}")
        return types.SimpleNamespace(name=name, layers=layers, dim=dim)

    return types.SimpleNamespace(name='other.pkl', sha256=sha256, tuned_from='', image_shape=image_shape, space=space)
