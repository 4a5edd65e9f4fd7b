"""Gram matrices from sums over tiles against the dense product in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin import RegionJacobian, RegionPartition
from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian import tile_grams
from resefa_plugin.jacobian.tile_grams import DirectGrams, TileGrams, choose_side, pixel_grams
from resefa_plugin.machine import memory
from tests.helpers.toys import TanhToy

EXACT = 1e-10  # relative to the largest entry; float64 sums leave 1e-15, what the guard lets through costs five digits


def pixels_of(shape, d=7, scale=None):
    pixels = torch.randn(d, *shape, generator=torch.Generator().manual_seed(0))
    return pixels if scale is None else pixels * scale


def dense(pixels, mask):
    J = pixels.double().numpy()[:, :, mask.numpy()].reshape(len(pixels), -1)
    return J @ J.T


def assert_equal(actual, expected):
    assert actual.dtype == torch.float64 and torch.equal(actual, actual.T)
    assert np.abs(actual.numpy() - expected).max() <= EXACT * np.abs(expected).max()


def masks(height, width):
    random = np.random.RandomState(0)
    y, x = np.mgrid[:height, :width]
    yield from (random.rand(height, width) < share for share in (0.01, 0.3, 0.5, 0.9, 0.995))
    yield (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2
    yield (y >= 3) & (x >= 5)
    yield (y < 9) & (x < 4) | (x > width - 7)  # a union, of which one part is at the ragged edge
    yield np.ones((height, width), bool)
    yield np.arange(height * width).reshape(height, width) == height * width - 1  # a pixel


@pytest.mark.parametrize('side', [3, 8])
@pytest.mark.parametrize('shape', [(3, 24, 24), (1, 19, 33), (3, 30, 11), (1, 2, 2)])
def test_any_mask_equals_the_dense_product(shape, side):
    pixels = pixels_of(shape)
    tiles, direct = TileGrams(pixels, side), DirectGrams(pixels)
    for mask in masks(*shape[1:]):
        mask = torch.tensor(mask)
        if mask.any():
            assert_equal(tiles.product(mask), dense(pixels, mask))
            assert_equal(direct.product(mask), dense(pixels, mask))
    for grams in (tiles, direct):
        assert not grams.product(torch.zeros(shape[1:], dtype=torch.bool)).any()
        assert_equal(grams.product(None), dense(pixels, torch.ones(shape[1:], dtype=torch.bool)))


def test_long_products_are_summed_in_blocks(monkeypatch):
    monkeypatch.setattr(tile_grams, 'BLOCK', 10)
    monkeypatch.setattr(tile_grams, 'PANEL', 3)
    pixels = pixels_of((3, 9, 9))
    mask = torch.tensor(np.random.RandomState(1).rand(9, 9) < 0.6)
    assert_equal(DirectGrams(pixels).product(mask), dense(pixels, mask))
    assert_equal(DirectGrams(pixels).product(None), dense(pixels, torch.ones(9, 9, dtype=torch.bool)))


@pytest.mark.parametrize('faint', [1e-2, 1e-4, 1e-7])
def test_a_faint_region_beside_a_bright_one_keeps_its_digits(faint):
    """Columns 6 to 15 change less by `faint` than their tiles' other pixels and the tiles that the sums run over."""
    scale = torch.ones(16, 16)
    scale[:, 6:] = faint
    pixels = pixels_of((3, 16, 16), scale=scale)
    tiles = TileGrams(pixels, 8)
    for columns in (slice(6, 16), slice(8, 16), slice(7, 15), slice(6, 12)):
        mask = torch.zeros(16, 16, dtype=torch.bool)
        mask[:, columns] = True
        assert_equal(tiles.product(mask), dense(pixels, mask))


def test_products_are_not_shared():
    for grams in (TileGrams(pixels_of((1, 8, 8)), 8), DirectGrams(pixels_of((1, 8, 8)))):
        grams.product(None).zero_()
        assert grams.product(None).any()


# 25 tiles of side 8, 9 of side 16 and 4 of side 32, 8 * 10^2 bytes each.
@pytest.mark.parametrize('most, side', [(20_000, 8), (19_999, 16), (7_200, 16), (7_199, 32), (3_199, None)])
def test_tiles_are_as_small_as_the_budget_allows(monkeypatch, most, side):
    pixels = pixels_of((1, 40, 40), d=10)
    shares = {memory.SUMS: most, memory.COLUMNS: 10 ** 6}
    monkeypatch.setattr(tile_grams, 'room', lambda share, device: shares[share])
    assert getattr(pixel_grams(pixels), 'side', None) == side
    assert isinstance(pixel_grams(pixels), DirectGrams if side is None else TileGrams)
    shares.update({memory.SUMS: 10 ** 6, memory.COLUMNS: pixels.nbytes + most})  # no more than the columns leave
    assert getattr(pixel_grams(pixels), 'side', None) == side


def test_bytes_of_sums_and_of_a_single_matrix():
    assert choose_side((10, 1, 40, 40), 20_000) == (8, 25 * 8 * 10 ** 2)
    assert choose_side((10, 3, 40, 24), 10 ** 6) == (8, 15 * 8 * 10 ** 2)
    assert choose_side((10, 1, 40, 40), 0) == (None, 8 * 10 ** 2)


def test_only_what_sums_would_lose_is_multiplied_directly(monkeypatch):
    scale = torch.ones(16, 16)
    scale[:, 8:] = 1e-5
    tiles, asked = TileGrams(pixels_of((3, 16, 16), scale=scale), 8), []
    monkeypatch.setattr(tiles.direct, 'product', lambda mask: asked.append(mask))
    faint = torch.zeros(16, 16, dtype=torch.bool)
    faint[:, 8:] = True
    bright = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) < 0.7
    assert tiles.product(bright).any() and tiles.product(~faint).any() and not asked
    assert tiles.product(faint) is None and len(asked) == 1


def test_region_jacobian_multiplies_masks():
    toy = TanhToy(shape=(3, 12, 20))
    hook = toy.hook()
    sample = hook.sample(0)
    jacobian = RegionJacobian(Viewpoint(hook, hook.space('z'), sample))
    mask = np.random.RandomState(2).rand(12, 20) < 0.4
    with pytest.raises(ResefaError, match='not computed yet'):
        jacobian.product(mask)
    jacobian.compute()
    J = toy.jacobian(sample.latents['z'])
    expected = J[:, mask].reshape(-1, toy.z_dim)
    for form in (mask, torch.tensor(mask)):
        actual = jacobian.product(form).numpy()
        assert (
            np.abs(actual - expected.T @ expected).max() < 1e-5 * np.abs(expected.T @ expected).max()
        )  # a float32 Jacobian
    A, B = jacobian.gram(RegionPartition(mask, 'some'))
    assert torch.allclose(A, jacobian.product(mask)) and torch.allclose(A + B, jacobian.product())
    with pytest.raises(ResefaError, match=r'mask is torch.bool \[12, 12\], expected torch.bool \[12, 20\]'):
        jacobian.product(mask[:, :12])
    with pytest.raises(ResefaError, match=r'mask is torch.float64 \[12, 20\]'):
        jacobian.product(mask.astype(float))
