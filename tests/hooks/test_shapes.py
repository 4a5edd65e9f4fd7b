"""Pictures of any shape through the commands and the studio: portrait, landscape, grey, with transparency."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from resefa_plugin import DirectionSet
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks import opening
from resefa_plugin.hooks.base import box_average
from resefa_plugin.hooks.stylegan import OfficialStyleGANHook
from resefa_plugin.report.pictures import to_uint8
from resefa_plugin.scripts.main import main
from resefa_plugin.studio.actions import Studio
from tests.helpers.network_files import make_generator
from tests.helpers.studio_pages import prepare
from tests.helpers.toys import TinyHook

SHAPES = [(3, 64, 32), (3, 32, 64), (3, 48, 32), (1, 32, 32), (4, 32, 64)]


class AnyShape(TinyHook):
    """The tiny generator with pictures of another shape."""

    def __init__(self, shape):
        self.image_shape = shape

    def from_styles(self, styles, resolution):
        weight = torch.from_numpy(np.random.RandomState(0).randn(32, int(np.prod(self.image_shape))).astype(np.float32))
        return box_average(torch.tanh(torch.cat(styles, dim=1) @ weight / 8).unflatten(1, self.image_shape), resolution)


@pytest.fixture(params=SHAPES, ids=lambda shape: 'x'.join(map(str, shape)))
def shape(request, monkeypatch):
    monkeypatch.setitem(opening.NAMED_NETWORKS, 'shaped', lambda rest, device: AnyShape(request.param))
    return request.param


def run(*arguments):
    result = CliRunner().invoke(main, [*arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands(shape, tmp_path):
    channels, height, width = shape
    out, edits = f'{tmp_path}/out', f'{tmp_path}/edits'
    run('factorize', '--network=shaped', '--seeds=0', '--region=left=0,0,0.5,1', '--region=mouth', '--num-directions=2',
        '--other-seeds=1', '--keep-background=1', f'--outdir={out}')
    directions = DirectionSet.load(f'{out}/seed0000-left.npz')
    assert directions.mask.shape == (height, width) and directions.mask.mean() == 0.5
    assert directions.metadata.image_shape == shape
    assert Image.open(f'{out}/seed0000.png').size == (width, height)
    run('edit', '--network=shaped', f'--directions={out}/seed0000-left.npz', '--steps=2', '--keep-background=1',
        f'--outdir={edits}')
    assert Image.open(f'{edits}/seed0000-00.png').size == (width, height)
    run('evaluate', '--network=shaped', '--region=left=0,0,0.5,1', '--methods=resefa,random', '--seeds=0',
        '--eval-seeds=1', '--metrics=mse', f'--outdir={tmp_path}/evaluated')
    assert f'{height} x {width}, {channels} channels' in run('info', 'shaped')


def test_the_studio(shape, tmp_path):
    studio = Studio(AnyShape(shape), outdir=tmp_path)
    try:
        desk = studio._new_desk('token')
        session = desk.session
        mask = np.zeros(shape[1:], bool)
        mask[:, :shape[2] // 2] = True
        session.set_region('left', mask)
        prepare(session)
        session.factorize('left')
        session.set_strengths({('left', 0): 2.0})
        assert session.render().size == (shape[2], shape[1])
        lit, inside, outside, _ = session.change()
        assert inside > outside > 0 and lit.size == (shape[2], shape[1])
    finally:
        studio.close()


def test_transparency_shows_a_checkerboard():
    images = torch.zeros(1, 4, 64, 64)
    images[:, :3] = torch.tensor([1.0, 0, -1])[None, :, None, None]
    images[:, 3, :, :32] = 1
    images[:, 3, :, 32:] = -1
    opaque, clear = to_uint8(images)[0, :, :32], to_uint8(images)[0, :, 32:]
    assert (opaque == [255, 128, 0]).all()
    assert sorted(map(tuple, np.unique(clear.reshape(-1, 3), axis=0).tolist())) == [(153,) * 3, (204,) * 3]
    assert (clear[0, 0] != clear[0, 2]).all() and (clear[0, 0] == clear[2, 2]).all()
    images[:, 3] = 0
    assert np.abs(to_uint8(images)[0, 0, 0].astype(int) - (np.array([255, 128, 0]) + 204) / 2).max() <= 1


def test_the_shape_of_an_official_picture_is_measured(monkeypatch):
    """Forks keep the class and its attributes, and make pictures of another shape."""
    G = make_generator().eval().requires_grad_(False)
    forward = type(G.synthesis).forward

    def cropped(self, ws, noise_mode='const'):
        return forward(self, ws, noise_mode)[:, :, :, 8:24]

    monkeypatch.setattr(type(G.synthesis), 'forward', cropped)
    hook = OfficialStyleGANHook(G, 'fork')
    assert hook.image_shape == (3, 32, 16)
    monkeypatch.setattr(type(G.synthesis), 'forward', lambda self, ws: None)
    with pytest.raises(CheckpointError, match='fork: Generator makes no picture'):
        OfficialStyleGANHook(G, 'fork')
