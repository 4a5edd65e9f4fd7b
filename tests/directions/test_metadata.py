"""Where directions come from: what the text holds, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from datetime import datetime, timezone
from importlib import metadata as distributions

import numpy as np
import pytest
import torch

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.metadata import FORMAT, VERSION, DirectionMetadata, package_versions
from resefa_plugin.errors import DirectionsError
from tests.helpers.direction_sets import edited_json, load_error, make_metadata, make_set, write_npz


def test_unknown_metadata_survives(tmp_path):
    write_npz(tmp_path / 'a.npz', edited_json(label='smile', nested={'a': [1, None]}))
    loaded = DirectionSet.load(tmp_path / 'a.npz')
    assert loaded.metadata.extra == {'label': 'smile', 'nested': {'a': [1, None]}}
    loaded.save(tmp_path / 'b.npz')
    assert DirectionSet.load(tmp_path / 'b.npz').metadata == loaded.metadata


def test_numpy_numbers_in_metadata_are_stored_as_plain_ones(tmp_path):
    make_set(metadata=make_metadata(seeds=[np.int64(3)], ridge=np.float32(.5), layers=np.arange(2))).save(
        tmp_path / 'a.npz')
    metadata = DirectionSet.load(tmp_path / 'a.npz').metadata
    assert (metadata.seeds, metadata.ridge, metadata.layers) == ((3,), .5, (0, 1))


def test_extra_metadata_must_be_json(tmp_path):
    for bad in (float('nan'), {1, 2}):
        with pytest.raises(DirectionsError, match='extra metadata is not JSON .*: use texts, finite numbers, lists and '
                                                  'dictionaries'):
            make_set(metadata=make_metadata(extra={'x': bad})).save(tmp_path / 'a.npz')
    assert os.listdir(tmp_path) == []
    with pytest.raises(DirectionsError, match='may not redefine format, tau, version'):
        make_metadata(extra={'version': 2, 'tau': 1, 'format': 'x'})


@pytest.mark.parametrize('text, match', [
    (edited_json(version=VERSION + 1), r'format version is 2, and .* reads up to 1: upgrade resefa_plugin'),
    (edited_json(version='1'), r"format version is '1', expected a whole number"),
    (edited_json(version=True), r'format version is True'),
    (edited_json(version=0), r'format version is 0, expected'),
    (json.dumps({'format': FORMAT}), r'format version is None'),
    ('{}', r'this is another program'),
    (edited_json(format='other'), r'this is another program'),
    ('[]', r'this is another program'),
    ('{', r'cannot be read \(JSONDecodeError'),
    ('[' * 100_000, r'cannot be read \(RecursionError'),
    (json.dumps({'format': FORMAT, 'version': 1, 'tau': 1}), r'metadata lacks network, network_sha256'),
    (edited_json(tau=float('nan')), r'metadata holds NaN'),
], ids=['newer', 'text', 'flag', 'zero', 'none', 'empty', 'foreign', 'list', 'cut off', 'deep', 'lacking', 'NaN'])
def test_bad_metadata_text(tmp_path, text, match):
    write_npz(tmp_path / 'a.npz', text)
    load_error(tmp_path / 'a.npz', match)


@pytest.mark.parametrize('changes, match', [
    ({'image_shape': [3, 4]}, r"'image_shape' is \[3, 4\], expected three whole numbers"),
    ({'space': 3}, r"'space' is 3, expected a text"),
    ({'layers': 'all'}, r"'layers' is 'all', expected layer numbers"),
    ({'layers': []}, r"'layers' is \[\]"),
    ({'layers': [2, 1]}, r"'layers' is \[2, 1\]"),
    ({'layers': [1, 1]}, r"'layers' is \[1, 1\]"),
    ({'layers': [-1]}, r"'layers' is \[-1\]"),
    ({'seeds': [1.5]}, r"'seeds' is \[1.5\], expected a list of whole numbers"),
    ({'num_ws': True}, r"'num_ws' is True, expected a whole number"),
    ({'truncation_psi': '0.7'}, r"'truncation_psi' is '0.7', expected a finite number"),
    ({'truncation_psi': True}, r"'truncation_psi' is True, expected a finite number"),
    ({'versions': 'x'}, r"'versions' is 'x', expected texts by name"),
    ({'versions': {'torch': 2}}, r"'versions' is"),
    ({'network': None}, r"'network' is None"),
])
def test_bad_metadata_values(tmp_path, changes, match):
    write_npz(tmp_path / 'a.npz', edited_json(**changes))
    load_error(tmp_path / 'a.npz', match)


def test_metadata_infinity():
    with pytest.raises(DirectionsError, match="'tau' is inf, expected a finite number"):
        make_metadata(tau=float('inf'))


WRONG = {
    'a text': (3, ['network', 'network_sha256', 'space', 'region', 'solver', 'command', 'created']),
    'a whole number': (1.5, ['num_ws', 'resolution', 'truncation_cutoff']),
    'a finite number': ('1', ['truncation_psi', 'tau', 'ridge']),
}


@pytest.mark.parametrize('expected, value, name', [
    (expected, value, name) for expected, (value, names) in WRONG.items() for name in names])
def test_every_value_has_its_type(expected, value, name):
    with pytest.raises(DirectionsError, match=f"metadata '{name}' is {value!r}, expected {expected}"):
        make_metadata(**{name: value})


@pytest.mark.parametrize('name', ['layers', 'truncation_cutoff'])
def test_what_may_be_none(name):
    assert getattr(make_metadata(**{name: None}), name) is None


def test_what_need_not_be_stated():
    values = dataclasses.asdict(make_metadata())
    for name in ('command', 'versions', 'created', 'extra'):
        del values[name]
    before = datetime.now(timezone.utc).replace(microsecond=0)
    metadata = DirectionMetadata(**values)
    assert (metadata.command, metadata.extra, metadata.versions) == ('', {}, package_versions())
    assert before <= datetime.fromisoformat(metadata.created) <= datetime.now(timezone.utc)


def test_versions(monkeypatch):
    found = package_versions()
    assert found == {'python': platform.python_version(), 'torch': torch.__version__, 'numpy': np.__version__,
                     'resefa_plugin': distributions.version('resefa_plugin')}

    def missing(name):
        raise distributions.PackageNotFoundError(name)

    monkeypatch.setattr(distributions, 'version', missing)
    assert package_versions() == found | {'resefa_plugin': 'unknown'}
