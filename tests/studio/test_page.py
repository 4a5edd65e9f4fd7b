"""The page as it is served, without a browser: on this machine only, bounded, without telemetry; and its command."""

from __future__ import annotations

import builtins
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner

from resefa_plugin.errors import ResefaError
from resefa_plugin.scripts.main import main
from resefa_plugin.studio import page as page_module
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.page import MAX_REQUEST, _asset, build_page, launch_options
from tests.helpers.toys import TinyHook

ROOT = pathlib.Path(__file__).parents[2]
gradio = pytest.importorskip('gradio', reason="needs the extra 'ui'")


@pytest.fixture(scope='module')
def address():
    studio = Studio(TinyHook(), ['--network=tiny'])
    page = build_page(studio)
    _, local, _ = page.launch(server_name='127.0.0.1', prevent_thread_lock=True, quiet=True, **launch_options())
    yield local
    page.close()
    studio.close()


def get(url, data=None, **headers):
    request = urllib.request.Request(url, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def test_it_listens_on_this_machine_only(address):
    assert address.startswith('http://127.0.0.1:')
    port = int(address.rsplit(':', 1)[1].strip('/'))
    with socket.create_connection(('127.0.0.1', port), timeout=10):
        pass
    outside = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {'127.0.0.1', '127.0.1.1'}
    for other in outside:
        with pytest.raises(OSError):
            socket.create_connection((other, port), timeout=2)


def test_no_telemetry(address):
    assert os.environ['GRADIO_ANALYTICS_ENABLED'] == 'False'
    config = json.loads(get(f'{address}config'))
    assert config['analytics_enabled'] is False and config['title'] == 'ReSeFa studio'


def test_style_markup_and_script_are_there(address):
    config = get(f'{address}config').decode()
    assert 'data-at=' in config and 'makePicker' in config and '.studio' in config


def test_a_large_request_is_refused_before_it_is_read(address):
    with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)) as error:
        get(f'{address}gradio_api/component_server', data=b'x' * (MAX_REQUEST + 1))
    if isinstance(error.value, urllib.error.HTTPError):
        assert error.value.code == 413


def test_files_of_the_machine_are_not_served(address):
    for path in ('gradio_api/file=/etc/hostname', 'gradio_api/file=../../setup.py', f'gradio_api/file={os.path.abspath("setup.py")}'):
        with pytest.raises(urllib.error.HTTPError) as error:
            get(f'{address}{path}')
        assert error.value.code in (403, 404)


def test_the_markup_has_names_for_everything_that_is_pressed():
    html, script = _asset('studio.html'), _asset('studio.js')
    for name in {part.split('"')[0] for part in html.split('data-do="')[1:]}:
        assert name == 'hold' or f'  {name}' in script, name
    assert '${' not in html and '{{' not in html  # gradio would take it for a template


def test_without_its_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args):
        if name == 'gradio':
            raise ImportError(name)
        return real(name, *args)

    studio = Studio(TinyHook())
    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(ResefaError, match=r"the studio needs the extra 'ui': pip install 'resefa_plugin\[ui\]'"):
        build_page(studio)
    monkeypatch.undo()
    studio.close()


def test_the_command_passes_everything_on(tiny, monkeypatch, tmp_path):
    seen = {}

    class Blocks:
        def launch(self, **options):
            seen.update(options)

    monkeypatch.setattr('resefa_plugin.scripts.studio.build_page', lambda studio: seen.update(studio=studio) or Blocks())
    result = CliRunner().invoke(main, ['studio', '--network=tiny', '--seed=3', '--trunc=0.5', '--resolution=16', '--num-directions=2', '--port=1234',
                                       '--memory=0.5', f'--outdir={tmp_path}', '--no-browser'])
    assert result.exit_code == 0, result.output
    assert seen['server_name'] == '127.0.0.1' and seen['server_port'] == 1234 and seen['share'] is False and seen['inbrowser'] is False
    studio = seen['studio']
    assert studio.network_flags == ['--network=tiny'] and studio.cache.limit == 500_000_000 and studio.outdir == tmp_path
    session = studio.store._create('token').session
    assert (session.resolution, session.num_directions, session.state.source.seed, session.state.source.truncation_psi) == (16, 2, 3, 0.5)


@pytest.mark.skipif(sys.platform == 'win32', reason='signals of POSIX')
@pytest.mark.parametrize('end', [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_ended_and_leaves_nothing(tmp_path, end):
    (tmp_path / 'my_gan.py').write_text('from tests.helpers.toys import TwoPartToy\n\n\ndef my_hook(device):\n    return TwoPartToy().hook()\n')
    (tmp_path / 'tmp').mkdir()
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'TMPDIR': str(tmp_path / 'tmp'), 'PYTHONUNBUFFERED': '1'}
    command = [sys.executable, '-m', 'resefa_plugin.scripts.main', 'studio', '--hook=my_gan:my_hook', '--no-browser', f'--port={port}']
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    try:
        lines = iter(process.stdout.readline, '')
        assert any(f'http://127.0.0.1:{port}' in line for line in lines)
        assert b'ReSeFa studio' in get(f'http://127.0.0.1:{port}/')
        process.send_signal(end)
        rest = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert 'Traceback' not in rest and not list((tmp_path / 'tmp').glob('resefa-studio-*'))


@pytest.mark.parametrize('arguments, message', [
    ([], 'name the generator with --network=NETWORK or with --hook=MODULE:FUNCTION'),
    (['--network=tiny', '--class=3'], 'tiny is unconditional: leave the class empty'),
    (['--network=tiny', '--resolution=5'], 'resolution 5 does not divide'),
    (['--network=tiny', '--port=70000'], '70000'),
])
def test_errors_of_the_command(tiny, arguments, message):
    result = CliRunner().invoke(main, ['studio', '--no-browser', *arguments])
    assert result.exit_code != 0 and message in result.output and 'Traceback' not in result.output


def test_share_is_off_unless_asked():
    option = next(option for option in main.commands['studio'].params if option.name == 'share')
    assert option.default is False and 'PUBLISH' in option.help
    assert page_module.launch_options()['allowed_paths'] == []
