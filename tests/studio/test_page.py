"""The page as it is served, without a browser: on this machine only, bounded, without telemetry; and its command."""

from __future__ import annotations

import asyncio
import builtins
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import MAX_SEED
from resefa_plugin.scripts.main import load_command, main
from resefa_plugin.studio import page as page_module
from resefa_plugin.studio.actions import ACTIONS, Studio
from resefa_plugin.studio.limits import MAX_REQUEST, MAX_UPLOAD, page_limits
from resefa_plugin.studio.page import SCRIPTS, build_page, launch_options, page_script, read_asset
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
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for other in own - {'127.0.0.1', '127.0.1.1'}:
        with pytest.raises(OSError):
            socket.create_connection((other, port), timeout=2)


def test_no_telemetry(address):
    assert os.environ['GRADIO_ANALYTICS_ENABLED'] == 'False'
    config = json.loads(re.search(r'window\.gradio_config = (\{.*?\});</script>', get(address).decode())[1])
    assert config['analytics_enabled'] is False and config['title'] == 'ReSeFa studio'


def test_no_server_beside_that_with_the_door(monkeypatch):
    monkeypatch.setenv('GRADIO_NUM_WORKERS', '1')
    monkeypatch.setenv('GRADIO_SSR_MODE', 'True')
    studio = Studio(TinyHook(), ['--network=tiny'])
    page = build_page(studio)
    try:
        page.launch(server_name='127.0.0.1', prevent_thread_lock=True, quiet=True, **launch_options())
        assert page.node_process is None and getattr(page, '_static_worker_pool', None) is None
    finally:
        page.close()
        studio.close()


def test_style_markup_and_script_are_there(address):
    config = get(address).decode()
    assert 'data-part=' in config and 'makePicker' in config and '.studio' in config


def test_a_large_request_is_refused_before_it_is_read(address):
    with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)) as error:
        get(f'{address}gradio_api/component_server/', data=b'x' * (MAX_REQUEST + 1))
    if isinstance(error.value, urllib.error.HTTPError):
        assert error.value.code == 413


def test_files_of_the_machine_are_not_served(address):
    for path in ('/etc/hostname', '../../setup.py', os.path.abspath('setup.py')):
        with pytest.raises(urllib.error.HTTPError) as error:
            get(f'{address}gradio_api/file={path}')
        assert error.value.code in (403, 404)


def named(attribute, text):
    return {part.split('"')[0] for part in text.split(f'{attribute}="')[1:]}


def test_the_script_knows_every_button_and_field_by_its_name():
    html, script = read_asset('studio.html'), page_script()
    assert named('data-action', html) == set(re.findall(r"^  '([\w-]+)': ", script.partition('const ACTIONS')[2]
                                                        .partition('};')[0], re.MULTILINE)) | {'compare'}
    assert named('data-part', html) == set(re.findall(r"part\('([\w-]+)'\)", script)) | set(
        re.findall(r"^  '([\w-]+)': ", script.partition('const CHANGES')[2].partition('};')[0], re.MULTILINE))
    assert set(re.findall(r"actionButton\('([\w-]+)'\)", script)) <= named('data-action', html)
    assert '${' not in html and '{{' not in html  # gradio would take it for a template


def test_every_script_of_the_folder_is_served():
    folder = pathlib.Path(page_module.__file__).parent / 'assets'
    assert {path.name for path in folder.glob('*.js')} == set(SCRIPTS) and len(SCRIPTS) == len(set(SCRIPTS))


def test_every_action_that_the_script_asks_for_is_there():
    asked = set(re.findall(r"ask\('(\w+)'|action: '(\w+)'", page_script()))
    assert {one or other for one, other in asked} == {'open', *ACTIONS}


def test_no_limit_is_written_into_the_page():
    """What limits.py decides comes with the network."""
    html, script = read_asset('studio.html'), page_script()
    for name in page_limits():
        assert re.search(rf'\b{name}\b', script), f'the page does not use the limit {name}'
    fields = re.findall(r'<input[^>]*>', html)
    limited = [field for field in fields if re.search(r' (max|maxlength|pattern|accept)=', field)]
    assert [named('data-part', field) for field in limited] == [
        {'brush-size'}, {'wipe-place'}, {'mask-file'}]  # decided by the page
    assert not re.search(rf'{MAX_SEED}|{MAX_UPLOAD}|8 << 20|8 MB', script)


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
        local_url = 'http://127.0.0.1:1234/'

        def launch(self, **options):
            seen.update(options)

        def block_thread(self):
            seen['blocked'] = True

    monkeypatch.setattr('resefa_plugin.scripts.studio.build_page',
                        lambda studio: seen.update(studio=studio) or Blocks())
    result = CliRunner().invoke(main, ['studio', '--network=tiny', '--seed=3', '--trunc=0.5', '--resolution=16',
                                       '--num-directions=2', '--port=1234', '--memory=0.5', f'--outdir={tmp_path}',
                                       '--no-browser', '--allow-host=a.example', '--allow-host=b.example'])
    assert result.exit_code == 0 and seen['blocked'], result.output
    assert result.output == 'The studio is open at http://127.0.0.1:1234/ (Ctrl-C ends it)\n' and seen['quiet']
    assert seen['ssr_mode'] is False  # else node would serve, before the door
    application = SimpleNamespace(middleware_stack=None, get_blocks=lambda: None)

    async def started():
        async with seen['app_kwargs']['lifespan'](application):
            return application.middleware_stack

    assert asyncio.run(started())._allow_hosts == {'a.example', 'b.example'}
    assert seen['server_name'] == '127.0.0.1' and seen['server_port'] == 1234
    assert seen['share'] is False and seen['inbrowser'] is False
    studio = seen['studio']
    assert studio.network_flags == ['--network=tiny'] and studio.cache.limit == int(0.55 * 500_000_000)
    assert studio.outdir == tmp_path
    session = studio.store._create('token').session
    assert (session.resolution, session.num_directions) == (16, 2)
    assert (session.state.source.seed, session.state.source.truncation_psi) == (3, 0.5)


# Two servers one after the other, since imports take seconds.
SERVE = '''
import os, signal, sys, tempfile
from resefa_plugin.scripts.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # which background jobs of a shell ignore
for port in sys.argv[1:]:
    try:
        main(['studio', '--hook=my_gan:my_hook', '--no-browser', f'--port={port}'])
    except SystemExit:
        print('ended, left', [name for name in os.listdir(tempfile.gettempdir()) if 'gradio' not in name])
'''


@pytest.mark.skipif(sys.platform == 'win32', reason='signals of POSIX')
def test_the_command_serves_until_it_is_ended_and_leaves_nothing(tmp_path):
    (tmp_path / 'my_gan.py').write_text('from tests.helpers.toys import TwoPartToy\n\n\n'
                                        'def my_hook(device):\n    return TwoPartToy().hook()\n')
    (tmp_path / 'tmp').mkdir()
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(('127.0.0.1', 0))
        ports = [str(free.getsockname()[1]) for free in (one, other)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'TMPDIR': str(tmp_path / 'tmp'), 'PYTHONUNBUFFERED': '1'}
    process = subprocess.Popen([sys.executable, '-c', SERVE, *ports], cwd=tmp_path, env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        lines = iter(process.stdout.readline, '')
        for port, end in zip(ports, (signal.SIGINT, signal.SIGTERM), strict=True):
            assert any(f'http://127.0.0.1:{port}' in line for line in lines)
            assert b'ReSeFa studio' in get(f'http://127.0.0.1:{port}/')
            assert list((tmp_path / 'tmp').glob('.resefa-studio.*'))
            process.send_signal(end)
            told = []
            for line in lines:
                told.append(line)
                if line.startswith('ended'):
                    break
            assert told[-1] == 'ended, left []\n' and 'Traceback' not in ''.join(told)
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert not list((tmp_path / 'tmp').iterdir())  # nor of gradio
    finally:
        process.kill()


@pytest.mark.parametrize('arguments, message', [
    ([], 'name the generator with --network=NETWORK or with --hook=MODULE:FUNCTION'),
    (['--network=tiny', '--class=3'], 'tiny is unconditional: leave the class empty'),
    (['--network=tiny', '--resolution=5'], 'resolution 5 does not divide'),
    (['--network=tiny', '--port=70000'], '70000'),
    (['--network=tiny', '--allow-host=https://x.org'], "--allow-host='https://x.org' is not the name of a host"),
])
def test_errors_of_the_command(tiny, arguments, message):
    result = CliRunner().invoke(main, ['studio', '--no-browser', *arguments])
    assert result.exit_code != 0 and message in result.output and 'Traceback' not in result.output


def test_share_is_off_unless_asked():
    option = next(option for option in load_command('studio').params if option.name == 'share')
    assert option.default is False and 'PUBLISH' in option.help
    assert page_module.launch_options()['allowed_paths'] == []
