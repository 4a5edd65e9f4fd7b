"""What strength means, on toys whose change is known in closed form, and that it is said where it cannot be reached."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from resefa_plugin import DirectionSet, RegionPartition
from resefa_plugin.editing.strength import (
    CORRECTIONS,
    MAX_CORRECTION,
    STRENGTH_RMS,
    Calibration,
    calibrate,
    describe_unreached,
    largest_outside,
    mean_square,
    render_edits,
    slopes,
    uncalibrated,
)
from resefa_plugin.errors import NonFiniteError
from resefa_plugin.hooks.base import Sample
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.scripts.main import main

LEFT = RegionPartition(RegionPartition.from_box(0, 0, 4, 8, (8, 8)).mask, 'left')
FLOAT32 = 1e-5  # relative: pictures are float32
SLOPE = 0.02  # of the left half for a step of 1; the right half moves half as much


def toy(inside):
    """Pictures of 1 x 8 x 8 pixels: `inside(z0)` in the left half, half of z0's linear change in the right one."""
    left = torch.arange(8) < 4

    def images(z):
        z = z[:, 0, None, None, None]
        return torch.where(left, inside(z), SLOPE / 2 * z).expand(-1, 1, 8, 8)

    hook = FunctionHook(images, 1)
    return Viewpoint(hook, 'z', Sample('zero', {'z': torch.zeros(1, 1)}))


def calibrated(viewpoint, slope):
    """The calibration where the slope inside is believed to be this, and how many pictures it took."""
    breaths = []
    predicted = np.array([slope ** 2]), np.array([slope ** 2 / 4])
    found = calibrate([viewpoint], LEFT, np.ones((1, 1)), predicted, breathe=lambda: breaths.append(None))
    return found, len(breaths)


def test_slopes_are_means_over_the_pixels_of_each_part():
    changes = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))  # at half of the mask's resolution
    squares = changes.double().numpy() ** 2
    inside, outside = slopes(changes, LEFT)
    np.testing.assert_allclose(inside, squares[..., :2].mean(axis=(1, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(outside, squares[..., 2:].mean(axis=(1, 2, 3)), rtol=1e-12)


def test_mean_squares_are_summed_in_float64():
    change = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for part, mask in zip(mean_square(change, LEFT), (LEFT.mask, ~LEFT.mask), strict=True):
        np.testing.assert_allclose(part, (change.double().numpy()[:, :, mask] ** 2).mean(axis=(1, 2)), rtol=1e-12)


def test_pictures_keep_their_type():
    viewpoint = toy(lambda z: SLOPE * z.double())
    assert render_edits(viewpoint, torch.zeros(2, 1)).dtype == torch.float64


def test_without_a_picture_the_prediction_is_the_calibration():
    inside, outside = np.array([0.04, 0.0004]), np.array([0.01, 0.0009])
    found = uncalibrated((inside, outside))
    np.testing.assert_allclose(found.step, [0.5, 5])
    for change in (found.predicted_inside, found.measured_inside):
        np.testing.assert_allclose(change, [0.01, 0.01])
    for change in (found.predicted_outside, found.measured_outside):
        np.testing.assert_allclose(change, [0.25 * 0.01, 25 * 0.0009])


# The prediction is right; off by a factor that one correction mends; by so much that both are cut short, and not enough
@pytest.mark.parametrize('believed, tries, reached', [
    (1, 1, 1), (1.01, 1, 1 / 1.01), (0.99, 1, 1 / 0.99), (2, 2, 1), (0.5, 2, 1),
    (100, 1 + CORRECTIONS, MAX_CORRECTION ** CORRECTIONS / 100),
    (0.01, 1 + CORRECTIONS, 100 / MAX_CORRECTION ** CORRECTIONS)])
def test_a_step_is_corrected_by_what_is_measured(believed, tries, reached):
    found, pictures = calibrated(toy(lambda z: SLOPE * z), believed * SLOPE)
    assert pictures == 1 + 2 * tries  # the original, and both ways
    assert found.step[0] == pytest.approx(reached * STRENGTH_RMS / SLOPE, rel=FLOAT32)
    assert found.measured_inside[0] == pytest.approx((reached * STRENGTH_RMS) ** 2, rel=10 * FLOAT32)
    assert found.measured_outside[0] == pytest.approx((reached * STRENGTH_RMS / 2) ** 2, rel=10 * FLOAT32)
    assert found.predicted_inside[0] == pytest.approx((found.step[0] * believed * SLOPE) ** 2)
    assert found.predicted_outside[0] == pytest.approx((found.step[0] * believed * SLOPE / 2) ** 2)


def test_the_change_is_the_mean_of_both_ways():
    """x = z + z^2 changes by s + s^2 one way and by s - s^2 the other, squared s^2 (1 + s^2) on average."""
    found, _ = calibrated(toy(lambda z: z + z * z), 1)
    s = found.step[0]
    assert found.measured_inside[0] == pytest.approx(s ** 2 * (1 + s ** 2), rel=10 * FLOAT32)


def test_the_resolution_of_a_viewpoint_does_not_matter():
    viewpoint = toy(lambda z: SLOPE * z)
    (full, _), (coarse, _) = (calibrated(at, 2 * SLOPE) for at in (viewpoint, viewpoint.at(4)))
    assert full.step == coarse.step and full.measured_inside == coarse.measured_inside


# z[0] moves the left half of a picture by 0.02 at most, z[1] the right half as far as one likes.
SATURATING = '''
import torch
from resefa_plugin import FunctionHook

def my_hook(device):
    left = torch.zeros(16, 16)
    left[:, :8] = 1

    def images(z):
        a, b = (z[:, i, None, None, None] for i in range(2))
        return (0.02 * torch.tanh(a) * left + 0.1 * b * (1 - left)).expand(-1, 3, 16, 16)

    return FunctionHook(images, 2, device=device)
'''


def calibration(*measured):
    measured = np.square(measured)
    return Calibration(np.ones_like(measured), measured, measured, measured, measured)


def test_what_is_far_from_the_promise_is_named():
    assert calibration(0.1, 0.119, 0.081).unreached == {}
    assert calibration(0.1, 0.121, 0.079, 0.02).unreached == pytest.approx({2: 0.121, 3: 0.079, 4: 0.02})
    assert describe_unreached({2: 0.121, 4: 0.02}).startswith(
        f'Strength 1 is to change the region by a root mean square of {STRENGTH_RMS} and does not for direction '
        '2 (0.12), 4 (0.02)')


def test_it_is_said_in_the_file_the_console_and_the_report(tmp_path, monkeypatch):
    (tmp_path / 'saturating_gan.py').write_text(SATURATING)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ['factorize', '--hook=saturating_gan:my_hook', '--seeds=0', '--outdir=out',
                                       '--region=box=0,0,8,16', '--num-directions=1', '--other-seeds=1'])
    assert result.exit_code == 0, result.output
    directions = DirectionSet.load('out/seed0000-box.npz')
    unreached = {int(number): value for number, value in directions.metadata.extra['unreached'].items()}
    assert unreached and all(
        value == pytest.approx(directions.measured_inside[number - 1] ** 0.5) and value < 0.8 * STRENGTH_RMS
        for number, value in unreached.items())
    sentence = describe_unreached(unreached)
    assert sentence in result.output and sentence in (tmp_path / 'out' / 'report.html').read_text()
    assert 'unreached' in CliRunner().invoke(main, ['info', 'out/seed0000-box.npz']).output


def test_a_picture_that_is_none_at_some_step_is_an_error():
    viewpoint = toy(lambda z: torch.where(z.abs() > 1, torch.nan, SLOPE * z))
    with pytest.raises(NonFiniteError, match='a picture of .* contains NaN .* once the latent is moved by 5'):
        calibrate([viewpoint], LEFT, np.ones((1, 1)), (np.array([SLOPE ** 2]), np.array([SLOPE ** 2 / 4])))


@pytest.mark.parametrize('shape, side', [((64, 64), 2), ((20, 50), 2), ((33, 64), 2)])
def test_the_tile_outside_that_changes_most(shape, side):
    random = np.random.RandomState(0)
    mask = np.zeros(shape, bool)
    mask[3:9, 4:15] = True
    change = torch.from_numpy(random.randn(2, 3, *shape))
    change[0, :, 3:9, 4:15] = 100.0
    change[1, :, 12:14, 18:20] = 7.0
    found = largest_outside(change, RegionPartition(mask, 'box'))
    squares, expected = change.square().mean(dim=1).numpy(), []
    for each in squares:
        tiles = []
        for top in range(0, shape[0], side):
            for left in range(0, shape[1], side):
                outside = ~mask[top:top + side, left:left + side]
                if outside.sum() >= 1:
                    tiles.append(each[top:top + side, left:left + side][outside].mean())
        expected.append(max(tiles))
    assert found.numpy() == pytest.approx(expected) and found[1] == pytest.approx(49)
