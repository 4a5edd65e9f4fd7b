"""Arguments of the Python interface that are not what they should be: said before anything takes long."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin import (
    Auto,
    Callback,
    Constraints,
    Davidson,
    Dense,
    Factorizer,
    RegionJacobian,
    RegionPartition,
    ResefaError,
    Store,
    Viewpoint,
)
from tests.helpers.toys import TanhToy

HOOK = TanhToy().hook()
SAMPLE = HOOK.sample(0)
VIEWPOINT = Viewpoint(HOOK, 'z', SAMPLE)
LEFT = RegionPartition.from_box(0, 0, 4, 8, (8, 8))


@pytest.mark.parametrize('changes, message', [
    ({'viewpoints': VIEWPOINT}, 'viewpoints is .*, expected a list of Viewpoint'),
    ({'viewpoints': [SAMPLE]}, 'viewpoints is .*, expected a list of Viewpoint'),
    ({'viewpoints': []}, 'viewpoints is empty'),
    ({'regions': LEFT}, 'regions is .*, expected a list of RegionPartition'),
    ({'regions': ['mouth']}, r"regions is \['mouth'\], expected a list of RegionPartition"),
    ({'regions': []}, 'regions is empty'),
    ({'regions': [RegionPartition.from_box(0, 0, 4, 8, (16, 16))]}, r'is for pictures of \[16, 16\]'),
    ({'solver': 'dense'}, "solver is 'dense', expected a value of type Solver"),
    ({'constraints': 'covariance'}, "constraints is 'covariance', expected a value of type Constraints"),
    ({'callbacks': Callback()}, 'callbacks is .*, expected a list of Callback'),
    ({'callbacks': [print]}, 'callbacks is .*, expected a list of Callback'),
    ({'store': '/tmp'}, "store is '/tmp', expected a value of type Store"),
    ({'objective': 'eyes_open-'}, "objective is 'eyes_open-', expected one such as AttributeObjective, or None"),
])
def test_of_a_factorizer(changes, message):
    with pytest.raises(ResefaError, match=f'(?s){message}'):
        Factorizer(**{'viewpoints': [VIEWPOINT], 'regions': [LEFT], **changes})


@pytest.mark.parametrize('make, message', [
    (lambda: Auto(2.5), 'num_directions is 2.5, expected a whole number of at least 1'),
    (lambda: Auto(True), 'num_directions is True'),
    (lambda: Dense('5'), "num_directions is '5'"),
    (lambda: Dense(5, 'a'), "tau is 'a', expected a finite number of at least 0"),
    (lambda: Davidson(5, None), 'tau is None'),
    (lambda: Store(5), 'jacobians is 5, expected the path of a folder'),
    (lambda: Store(grams=True), 'grams is True, expected the path of a folder'),
    (lambda: Viewpoint('x', 'z', SAMPLE), "hook is 'x', expected a value of type GeneratorHook"),
    (lambda: Viewpoint(HOOK, 'z', None), 'sample is None, expected a value of type Sample'),
    (lambda: Viewpoint(HOOK, 'z', SAMPLE, 4.0), 'resolution is 4.0, expected a whole number of at least 1'),
    (lambda: Viewpoint(HOOK, 'z', SAMPLE, True), 'resolution is True'),
    (lambda: Viewpoint(HOOK, 'z', SAMPLE, 0), 'resolution is 0'),
    (lambda: Viewpoint(HOOK, 3, SAMPLE), "space '3' is not one of z"),
    (lambda: HOOK.sample(-1), 'seed is -1, expected a whole number of at least 0'),
    (lambda: HOOK.sample(1.5), 'seed is 1.5'),
    (lambda: HOOK.sample(2 ** 32), 'seed 4294967296 is out of range'),
    (lambda: HOOK.sample(0, 'much'), "truncation_psi is 'much', expected a finite number"),
    (lambda: HOOK.sample(0, float('nan')), 'truncation_psi is nan'),
    (lambda: RegionJacobian(HOOK), 'viewpoint is .*, expected a value of type Viewpoint'),
    (lambda: RegionJacobian(VIEWPOINT, chunk_size=0), 'chunk_size is 0, expected a whole number of at least 1'),
    (lambda: RegionJacobian(VIEWPOINT, chunk_size=1.5), 'chunk_size is 1.5'),
    (lambda: RegionJacobian(VIEWPOINT).jvp(np.zeros((1, 6))), 'V is .*, expected a value of type Tensor'),
    (lambda: RegionJacobian(VIEWPOINT).jvp(torch.zeros(6)), r'V has shape \[6\], expected \[k, 6\]'),
    (lambda: Constraints(protect=[LEFT]), 'protect is .*, expected a list of Protection'),
    (lambda: Constraints(orthogonal_to='x'), r"orthogonal_to is 'x', expected an array \[m, d\]"),
    (lambda: Constraints(orthogonal_to=np.ones(5)), r'orthogonal_to is array\(.*expected an array \[m, d\]'),
])
def test_of_its_parts(make, message):
    with pytest.raises(ResefaError, match=f'(?s){message}'):
        make()


def test_numbers_of_numpy_are_numbers():
    assert HOOK.sample(np.int64(3)).seed == 3 and Auto(np.int64(2), np.float32(0.5)).count(6) == 2


def test_of_a_pool(tmp_path):
    pool = Factorizer([VIEWPOINT] * 3, [LEFT], store=Store(grams=tmp_path))
    with pytest.raises(ResefaError, match='stop_early is for a pool: give pool=True, too'):
        pool.run(stop_early=True)
    for part in ((0, 2), (3, 2), (1, 4)):
        with pytest.raises(ResefaError, match=r'part is \(., .\), expected \(i, n\) with i from 1 to n'):
            pool.collect(part)
    assert not list(tmp_path.iterdir())
