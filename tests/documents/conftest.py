"""A folder with what the examples of pages and help texts go on from."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from resefa_plugin import Auto, Factorizer, Viewpoint, parse_region
from resefa_plugin.atlas.atlas import atlas_folder
from resefa_plugin.atlas.builder import AtlasBuilder
from resefa_plugin.hooks import opening
from tests.helpers import biggan_toys
from tests.helpers.documents import DEMO, run
from tests.helpers.network_files import forge
from tests.helpers.photographs import without_downloads, write_portrait
from tests.helpers.toys import TinyHook
from tests.third_party.test_nvlabs_checkout import write_checkout


@pytest.fixture(scope='session')
def factorized(tmp_path_factory):
    """The folder `out` of the first example, which others go on from."""
    folder = tmp_path_factory.mktemp('documents') / 'out'
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(opening.NAMED_NETWORKS, 'tiny', lambda rest, device: TinyHook())
        run(f'resefa factorize --network={DEMO} --seeds=0 --region=mouth --outdir={folder}')
    return folder


@pytest.fixture(scope='session')
def known(tmp_path_factory):
    """The folder of fetched files, with an atlas and an edit by name."""
    cache, hook = tmp_path_factory.mktemp('cache'), TinyHook()
    place = cache / 'atlas' / atlas_folder(hook).name
    AtlasBuilder([Viewpoint(hook, 's', hook.sample(seed, 0.7)) for seed in range(2)], place).build()
    directions = Factorizer([Viewpoint(hook, 's', hook.sample(0, 0.7))], [parse_region('mouth', (32, 32))],
                            Auto(1)).run()[0].directions.labelled(['mouth opens +'])
    directions.metadata.extra['less'] = 'mouth closes'
    directions.save(place / 'edits' / 'mouth-opens.npz')
    return cache


@pytest.fixture
def folder(tmp_path, monkeypatch, known):
    """An empty folder with what a user would have: latents, directions, a mask, networks, a checkout, photographs."""
    shutil.copytree(known, tmp_path / 'cache')

    def known_edits(atlas, hook, place, *rest):
        shutil.copytree(next(known.glob('atlas/*/edits')), place / 'edits')
        return []

    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr('resefa_plugin.scripts.atlas.make_edits', known_edits)  # they need a parser that is fetched
    np.savez(tmp_path / 'projected_w.npz', w=np.zeros((1, 8, 4), np.float32))
    np.save(tmp_path / 'smile.npy', np.ones((1, 4), np.float32))
    mask = np.zeros((64, 64), np.uint8)
    mask[40:60, 10:50] = 255
    Image.fromarray(mask).save(tmp_path / 'lips.png')
    forge(tmp_path)[0].rename(tmp_path / 'ffhq.pkl')
    forge(tmp_path, 'stylegan3')[0].rename(tmp_path / 'stylegan3.pkl')
    biggan_toys.experiment(tmp_path / 'biggan')
    (tmp_path / 'my_gan.py').write_text(
        'import torch\nfrom resefa_plugin import FunctionHook\n\n\ndef my_hook(device):\n'
        '    weight = torch.randn(8, 3 * 16 * 16, generator=torch.Generator().manual_seed(0))\n'
        '    return FunctionHook(lambda z: torch.tanh(z @ weight).unflatten(1, (3, 16, 16)), z_dim=8, device=device)\n')
    write_checkout(tmp_path / 'stylegan2-ada-pytorch', 'stylegan2-ada-pytorch')
    (tmp_path / 'portraits').mkdir()
    for name in ('portrait.jpg', 'portraits/one.jpg', 'portraits/two.jpg'):
        write_portrait(tmp_path / name)
    without_downloads(monkeypatch)
    monkeypatch.setattr('resefa_plugin.attributes.combination.combine',
                        lambda viewpoints, region, span, *rest: span[0])  # by a parser that is fetched
    served = SimpleNamespace(launch=lambda **options: None, local_url='', block_thread=lambda: None)  # does not serve
    monkeypatch.setattr('resefa_plugin.scripts.studio.build_page', lambda studio: served)
    monkeypatch.setattr('resefa_plugin.scripts.studio.launch_options', dict)
    monkeypatch.chdir(tmp_path)
