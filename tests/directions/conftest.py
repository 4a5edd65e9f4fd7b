from __future__ import annotations

import pytest

from tests.helpers.direction_sets import make_set


@pytest.fixture
def good_path(tmp_path):
    path = tmp_path / 'good.npz'
    make_set().save(path)
    return path
