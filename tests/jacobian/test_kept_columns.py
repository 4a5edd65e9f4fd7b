"""Jacobians in a folder: found again, checked, and computed anew if they are damaged."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from resefa_plugin import RegionJacobian
from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.viewpoint import Viewpoint
from tests.helpers.toys import TanhToy, TinyHook
from tests.jacobian.test_jacobian import close, make


def test_kept_matrix_is_found_again_and_belongs_to_its_sample(tmp_path):
    toy = TanhToy()
    jacobian, _ = make(toy)
    matrix = jacobian.compute(path=tmp_path).matrix
    assert len(list(tmp_path.iterdir())) == 1
    again, _ = make(toy)
    again._fill = None  # would fail if it were computed anew
    counted = []
    assert torch.equal(again.compute(counted.append, tmp_path).matrix, matrix) and sum(counted) == toy.z_dim
    hook = toy.hook()
    other = RegionJacobian(Viewpoint(hook, hook.space('z'), hook.sample(4))).compute(path=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 and not torch.equal(other.matrix, matrix)


def test_kept_jacobians_of_other_layers_are_others(tmp_path):
    """Their latent and their picture are the same, and so is their shape."""
    hook = TinyHook()
    few, others = (
        RegionJacobian(Viewpoint(hook, hook.space('w', layers), hook.sample(0))).compute(path=tmp_path).matrix
        for layers in ((1, 2), (3, 4))
    )
    assert len(list(tmp_path.iterdir())) == 2 and not torch.equal(few, others)


def test_interrupted_computation_leaves_no_file(tmp_path):
    jacobian, _ = make(TanhToy(), chunk_size=2)

    def interrupt(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jacobian.compute(interrupt, tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ResefaError, match='not computed yet'):
        jacobian.matrix


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(ResefaError, match='cannot write .*jacobian-'):
        make(TanhToy())[0].compute(path=tmp_path / 'file')


def test_kept_jacobians_of_two_functions_are_two(tmp_path):
    """Functions have no hash; their pictures tell them apart."""
    for seed in (0, 1):
        toy = TanhToy(seed=seed)
        jacobian, z = make(toy)
        assert close(jacobian.compute(path=tmp_path).matrix, toy.jacobian(z).reshape(-1, toy.z_dim).T)
    assert len(list(tmp_path.iterdir())) == 2


def flip(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def repack(file, columns, hashed=True):
    """Writes columns `[d, C, h, w]` as a kept file of ours would have them."""
    np.save(file, np.asarray(columns, np.float32))
    if hashed:
        file.write_bytes(file.read_bytes() + hashlib.sha256(file.read_bytes()).digest())


DAMAGES = {
    'cut off': lambda f: f.write_bytes(f.read_bytes()[:-100]),
    'no array': lambda f: f.write_bytes(b'x'),
    'empty': lambda f: f.write_bytes(b''),
    'another shape': lambda f: np.save(f, np.zeros(3)),
    'objects': lambda f: np.save(f, np.array([{}], object)),
    'one bit': lambda f: flip(f, 1000),
    'one bit of the hash': lambda f: flip(f, -1),
    'too long': lambda f: f.write_bytes(f.read_bytes() + b'x'),
    'half of zeros': lambda f: f.write_bytes(f.read_bytes()[:2000] + bytes(len(f.read_bytes()) - 2000)),
    'others, rightly hashed': lambda f: repack(f, np.load(f)[::-1]),
    'others, without a hash': lambda f: repack(f, 1.02 * np.load(f), hashed=False),
    'NaN': lambda f: repack(f, np.nan * np.load(f)),
    'fortran': lambda f: np.save(f, np.asfortranarray(np.load(f))),
}


@pytest.mark.parametrize('damage', DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_kept_jacobian_is_computed_anew(tmp_path, damage):
    expected = make(TanhToy())[0].compute(path=tmp_path).matrix.clone()
    file, = tmp_path.iterdir()
    whole = file.read_bytes()
    damage(file)
    with pytest.warns(UserWarning, match='jacobian-.*npy.* The Jacobian is computed anew'):
        assert torch.equal(make(TanhToy())[0].compute(path=tmp_path).matrix, expected)
    assert file.read_bytes() == whole and list(tmp_path.iterdir()) == [file]


def test_kept_jacobians_of_before_have_no_hash_and_are_used(tmp_path):
    expected = make(TanhToy())[0].compute(path=tmp_path).matrix.clone()
    file, = tmp_path.iterdir()
    repack(file, np.load(file), hashed=False)
    before = file.read_bytes()
    assert torch.equal(make(TanhToy())[0].compute(path=tmp_path).matrix, expected) and file.read_bytes() == before


def test_room_is_reserved_before_a_map_is_written(tmp_path):
    """Else a full disk would end the process with SIGBUS: see `reserve`."""
    jacobian, _ = make(TanhToy(), chunk_size=1)
    sizes = []

    def look(count):
        part, = tmp_path.glob('.*.part')
        sizes.append((part.stat().st_blocks * 512, part.stat().st_size))

    jacobian.compute(look, tmp_path)
    assert len(sizes) == 6 and all(taken >= size >= 6 * 3 * 8 * 8 * 4 for taken, size in sizes)
