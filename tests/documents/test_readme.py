"""Every command of README.md and of the help texts is run, with the demo generator replaced by a tiny one."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks.readme_table import table
from resefa_plugin import Auto, Factorizer, Viewpoint, parse_region
from resefa_plugin.atlas.atlas import atlas_folder
from resefa_plugin.atlas.builder import AtlasBuilder
from resefa_plugin.hooks import opening
from resefa_plugin.scripts.main import COMMANDS, load_command, main
from tests.helpers.network_files import forge
from tests.helpers.photographs import without_downloads, write_portrait
from tests.helpers.toys import TinyHook
from tests.third_party.test_nvlabs_checkout import write_checkout

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
DEMO = 'mobilestylegan-ffhq'


def commands(text):
    joined = re.sub(r'\\\s*\n\s*', ' ', text)
    return [line.strip() for line in joined.splitlines() if line.strip().startswith('resefa ')]


def blocks(language):
    return re.findall(rf'```{language}\n(.*?)```', README, re.DOTALL)


def run(line):
    result = CliRunner().invoke(main, shlex.split(line.replace(DEMO, 'tiny'), comments=True)[1:])
    assert result.exit_code == 0, f'{line}\n{result.output}'


@pytest.fixture(scope='module')
def factorized(tmp_path_factory):
    """The folder `out` of the first example, which others go on from."""
    folder = tmp_path_factory.mktemp('readme') / 'out'
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(opening.NAMED_NETWORKS, 'tiny', lambda rest, device: TinyHook())
        run(f'resefa factorize --network={DEMO} --seeds=0 --region=mouth --outdir={folder}')
    return folder


@pytest.fixture(scope='module')
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
    """An empty folder with what a user would have: latents, directions, a mask, a network, a checkout, a photograph."""
    shutil.copytree(known, tmp_path / 'cache')
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr('resefa_plugin.scripts.atlas.make_edits', lambda *arguments: [])  # by a parser that is fetched
    np.savez(tmp_path / 'projected_w.npz', w=np.zeros((1, 8, 4), np.float32))
    np.save(tmp_path / 'smile.npy', np.ones((1, 4), np.float32))
    mask = np.zeros((64, 64), np.uint8)
    mask[40:60, 10:50] = 255
    Image.fromarray(mask).save(tmp_path / 'lips.png')
    forge(tmp_path)[0].rename(tmp_path / 'ffhq.pkl')
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
                        lambda viewpoints, region, offsets, *rest: offsets[0].double())  # by a parser that is fetched
    served = SimpleNamespace(launch=lambda **options: None, local_url='', block_thread=lambda: None)  # does not serve
    monkeypatch.setattr('resefa_plugin.scripts.studio.build_page', lambda studio: served)
    monkeypatch.setattr('resefa_plugin.scripts.studio.launch_options', dict)
    monkeypatch.chdir(tmp_path)


def test_readme_commands(tiny, folder):
    lines = [line for block in blocks('bash') for line in commands(block)]
    assert len(lines) >= 6
    for line in lines:
        run(line)


def test_readme_python(tiny, folder, factorized):
    shutil.copytree(factorized, 'out')
    snippets = blocks('python')
    assert snippets
    for snippet in snippets:
        exec(compile(snippet.replace(DEMO, 'tiny'), 'README.md', 'exec'), {})


def test_readme_make_targets_and_files():
    targets = re.findall(r'^make (\w+)', '\n'.join(blocks('bash')), re.MULTILINE)
    makefile = (ROOT / 'Makefile').read_text()
    assert {'demo', 'test'} <= set(targets) and all(re.search(rf'^{t}:', makefile, re.MULTILINE) for t in targets)
    for link in re.findall(r'\]\(([^)#]+)\)', README):
        assert link.startswith('https://') or (ROOT / link).exists(), link
    assert (ROOT / 'examples' / 'overview.jpg').stat().st_size < 400_000


def test_readme_table_is_the_benchmark():
    record = json.loads((ROOT / 'benchmarks' / 'results' / 'evaluate_demo.json').read_text())
    assert f'<!-- evaluation -->\n{table(record)}<!-- /evaluation -->' in README


@pytest.mark.parametrize('name', sorted(COMMANDS))
def test_help_examples(tiny, folder, factorized, name):
    shutil.copytree(factorized, 'out')
    examples = commands(load_command(name).help)
    assert examples, f'resefa {name} --help has no example'
    for line in examples:
        run(line)
    assert 'Examples:' in CliRunner().invoke(main, [name, '--help']).output
