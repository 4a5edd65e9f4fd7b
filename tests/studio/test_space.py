"""The Space of the examples: its app can be imported with any network, and its files agree with the package."""

from __future__ import annotations

import importlib.metadata
import pathlib
import re
import runpy

import pytest

import resefa_plugin

SPACE = pathlib.Path(__file__).parents[2] / 'examples' / 'space'
gradio = pytest.importorskip('gradio', reason="needs the extra 'ui'")


def test_the_app_is_a_page_of_the_network_that_is_named(tiny, monkeypatch):
    monkeypatch.setenv('RESEFA_NETWORK', 'tiny')
    app = runpy.run_path(str(SPACE / 'app.py'))
    try:
        assert isinstance(app['demo'], gradio.Blocks) and app['studio'].hook.name == 'tiny'
        assert app['studio'].network_flags == ['--network=tiny']
        answer = app['studio'].call({'action': 'open'})
        assert answer['state']['sample'] == {'name': 'seed0000', 'seed': 0, 'trunc': 0.7, 'cutoff': None, 'label': '',
                                             'note': ''}
    finally:
        app['studio'].close()


def test_the_wheel_and_gradio_are_those_of_the_package():
    wheel = f'resefa_plugin-{resefa_plugin.__version__}-py3-none-any.whl[ui,video]'
    assert f'./{wheel}' in (SPACE / 'requirements.txt').read_text().splitlines()
    readme = (SPACE / 'README.md').read_text()
    assert wheel in readme and 'app_file: app.py' in readme
    assert re.search(r'^sdk_version: (.+)$', readme, re.MULTILINE)[1] == importlib.metadata.version('gradio')
