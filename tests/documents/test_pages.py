"""Every command of the documentation and of the help texts is run, with the demo generator replaced by a tiny one."""

from __future__ import annotations

import re
import shutil
from urllib.parse import unquote

import click
import pytest
from click.testing import CliRunner

from resefa_plugin.scripts.main import COMMANDS, load_command, main
from tests.helpers.documents import MARKDOWN, ROOT, blocks, commands, marked_pages, run, run_lines, run_page, text


@pytest.mark.parametrize('name', marked_pages())
def test_pages(tiny, folder, name):
    assert run_page(name)


@pytest.mark.parametrize('name', sorted(COMMANDS))
def test_help_examples(tiny, folder, factorized, name):
    shutil.copytree(factorized, 'out')
    examples = commands(load_command(name).help)
    assert examples, f'resefa {name} --help has no example'
    for line in examples:
        run(line)
    assert 'Examples:' in CliRunner().invoke(main, [name, '--help']).output


@pytest.mark.parametrize('name', MARKDOWN)
def test_links_within_the_repository(name):
    without_code = re.sub(r'^( *)(```+).*?^\1\2 *$|`[^`\n]*`', '', text(name), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r'\]\(([^)#\s]+)[^)]*\)', without_code) + re.findall(r'<img[^>]* src="([^"]+)', without_code)
    broken = [link for link in links if not re.match(r'(https?|mailto):', link)
              and not (ROOT / name).parent.joinpath(unquote(link)).exists()]
    assert not broken


def test_blocks_are_found_with_their_fences():
    page = ('a\n```bash\nx\n```\n1. b\n\n    ```python title="Sketch"\n    y\n      z\n    ```\n'
            '````text\n```bash\n```\n````\n')
    assert list(blocks(page)) == [('bash', '', 'x\n'), ('python', ' title="Sketch"', 'y\n  z\n'),
                                  ('text', '', '```bash\n```\n')]


@pytest.mark.parametrize('line, message', [
    ('make eggs', 'make eggs'),
    ('frobnicate out', 'neither run nor checked'),
    ('pip install ".[eggs]"', 'eggs'),
    ('resefa info nothing.npz', 'nothing.npz'),
    ('python eggs.py', 'eggs.py'),
    ('python -m benchmarks.eggs', 'benchmarks.eggs'),
    ('python -m pytest tests/eggs', 'tests/eggs'),
    ('python factorize.py --network=ffhq.pkl --region=mouth', 'outdir'),
    ('python factorize.py --network=ffhq.pkl --region=mouth --outdir=out eggs', 'eggs'),
    ('torchrun --nproc-per-node=2 -m resefa_plugin.scripts.eggs', 'eggs'),
])
def test_lines_that_a_reader_could_not_type(tiny, line, message):
    with pytest.raises(AssertionError, match=re.escape(message)):
        run_lines(line)


def test_options_that_there_are_not():
    for line in ('python edit.py --eggs=1', 'torchrun -m resefa_plugin.scripts.edit --eggs=1',
                 'resefa doctor --eggs --build'):
        with pytest.raises(click.NoSuchOption, match='--eggs'):
            run_lines(line)
    run_lines('TORCH_CUDA_ARCH_LIST="8.6;9.0" resefa doctor --repo=stylegan3 --build  # takes minutes')
