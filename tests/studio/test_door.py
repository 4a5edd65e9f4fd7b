"""Who is let in to the studio: a real server with forged requests, and the door alone with forged scopes."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import re

import pytest

from resefa_plugin.errors import ResefaError
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.door import CALL, MAX_SESSION_NAME, host_name
from resefa_plugin.studio.page import build_page, launch_options
from tests.helpers.toys import TinyHook

gradio = pytest.importorskip('gradio', reason="needs the extra 'ui'")
PROXY = 'studio.example.org'
SHARED = '0123456789abcdef.gradio.live'
BROWSER = {'Sec-Fetch-Site': 'same-origin', 'Sec-Fetch-Mode': 'cors', 'Sec-Fetch-Dest': 'empty'}
OPENED = {'Sec-Fetch-Site': 'none', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document'}
FOREIGN = {'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'cors', 'Sec-Fetch-Dest': 'empty'}
# What a browser was seen to ask for, with what gradio asks of itself when it starts.
NEEDED = {('GET', '/'), ('HEAD', '/'), ('GET', '/gradio_api/startup-events'), ('GET', '/favicon.ico'),
          ('GET', '/theme.css'), ('GET', '/assets/{path:path}'), ('GET', '/static/{path:path}'), ('POST', CALL)}


class Server:
    """The studio behind its door, and raw requests to it."""

    def __init__(self):
        self.studio = Studio(TinyHook(), ['--network=tiny'])
        self.page = build_page(self.studio)
        _, local, _ = self.page.launch(server_name='127.0.0.1', prevent_thread_lock=True, quiet=True,
                                       **launch_options([PROXY]))
        self.port = int(local.rstrip('/').rpartition(':')[2])
        self.host = f'127.0.0.1:{self.port}'
        self.origin = f'http://{self.host}'

    def close(self):
        self.page.close()
        self.studio.close()

    def ask(self, method, target, headers=(), body=None, hosts=None):
        """Status, headers and text of the answer; `hosts` are the Host headers, None for the right one."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for host in [self.host] if hosts is None else hosts:
            connection.putheader('Host', host)
        for name, value in dict(headers).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader('Content-Length', str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        text = answer.read().decode(errors='replace')
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text

    def call(self, data, headers=(), hosts=None, **changes):
        """As the page calls `Studio.call`."""
        body = self.envelope(data, **changes)
        return self.ask('POST', CALL, {'Content-Type': 'application/json', **dict(headers)}, body, hosts)

    def envelope(self, data, **changes):
        """The body of such a call."""
        number, = [number for number, block in self.page.blocks.items() if block.get_block_name() == 'html']
        return json.dumps({'data': data, 'fn_name': 'call', 'component_id': number, 'session_hash': 'x',
                           **changes}).encode()


@pytest.fixture(scope='module')
def server():
    server = Server()
    yield server
    server.close()


# By which name


@pytest.mark.parametrize('host', ['127.0.0.1', '127.0.0.1:{port}', 'localhost', 'LocalHost:{port}', '[::1]:{port}',
                                  PROXY, f'{PROXY}:8443', 'Studio.Example.Org'])
def test_it_answers_to_its_own_names(server, host):
    status, _, text = server.ask('GET', '/', hosts=[host.format(port=server.port)])
    assert status == 200 and 'ReSeFa studio' in text


@pytest.mark.parametrize('hosts, status', [
    (['evil.example'], 403), (['evil.example:{port}'], 403), ([f'{PROXY}.evil.example'], 403), (['127.0.0.2'], 403),
    ([f'evil.{PROXY}'], 403), (['127.0.0.1.evil.example'], 403), ([SHARED], 403), (['0.0.0.0:{port}'], 403),
    ([], 400), ([''], 400), (['127.0.0.1', '127.0.0.1'], 400), (['127.0.0.1', 'evil.example'], 400),
    (['evil.example@127.0.0.1'], 400), (['127.0.0.1/x'], 400), (['127.0.0.1:80:80'], 400), (['localhost.'], 400),
    (['127.0.0.1, evil.example'], 400), (['[::1'], 400), (['127.0.0.1:'], 400),
])
@pytest.mark.parametrize('method, target', [('GET', '/'), ('POST', CALL), ('OPTIONS', CALL), ('GET', '/theme.css')])
def test_it_answers_to_no_other_name(server, method, target, hosts, status):
    """The trick is called DNS rebinding: a name of somebody else that by now leads to this machine."""
    hosts = [host.format(port=server.port) for host in hosts]
    answer = server.ask(method, target, {'Origin': 'http://localhost'}, hosts=hosts)
    assert answer[0] in (status, 400), answer  # of no or two hosts, the web server itself may say so
    assert 'ReSeFa' not in answer[2] and 'access-control-allow-origin' not in answer[1]
    if answer[0] == 403:
        assert '--allow-host=HOST' in answer[2] and answer[1]['content-type'].startswith('text/plain')


def test_the_public_link_is_a_name_once_it_is_known(server, monkeypatch):
    assert server.ask('GET', '/', hosts=[SHARED])[0] == 403
    monkeypatch.setattr(server.page, 'share_url', f'https://{SHARED}')
    headers = {**BROWSER, 'Origin': f'https://{SHARED}', 'X-Forwarded-For': '9.9.9.9', 'X-Forwarded-Proto': 'https'}
    assert server.ask('GET', '/', {**OPENED, 'X-Forwarded-For': '9.9.9.9'}, hosts=[SHARED])[0] == 200
    assert 'no such action' in server.call({}, headers, hosts=[SHARED])[2]
    assert server.call({}, {**headers, 'Origin': 'https://evil.gradio.live'}, hosts=[SHARED])[0] == 403


@pytest.mark.parametrize('text', ['https://studio.example.org', 'studio.example.org:80', 'a/b', '*', '*.example.org',
                                  '', 'a b', 'a,b', '.example.org', 'example.org.', 'ex\nample', 'user@host'])
def test_what_is_no_name_of_a_host(text):
    with pytest.raises(ResefaError, match=re.escape(f'--allow-host={text!r} is not the name of a host: expected')):
        launch_options([text])


@pytest.mark.parametrize('text, name', [('Studio.Example.Org', PROXY), ('10.0.0.1', '10.0.0.1'), ('a_b-c', 'a_b-c'),
                                        ('[FE80::1]', '[fe80::1]')])
def test_names_of_hosts(text, name):
    assert host_name(text) == name


# From which page


@pytest.mark.parametrize('origin', ['http://evil.example', 'null', 'http://localhost:9', 'http://127.0.0.1:9',
                                    'http://127.0.0.1', f'https://{PROXY}.evil.example', 'http://[::1]:{port}',
                                    'http://127.0.0.1:{port}.evil.example', 'file://', 'http://localhost:{port}',
                                    'http://127.0.0.1:{port}, http://127.0.0.1:{port}', ''])
@pytest.mark.parametrize('fetched', [{}, BROWSER, FOREIGN])
def test_a_call_from_another_origin_is_refused(server, origin, fetched):
    before = len(server.studio.store)
    origin = origin.format(port=server.port)
    status, headers, text = server.call({'action': 'open'}, {**fetched, 'Origin': origin})
    assert status == 403 and 'another page' in text and len(server.studio.store) == before
    assert not [name for name in headers if name.startswith('access-control-')]


@pytest.mark.parametrize('headers', [FOREIGN, {**FOREIGN, 'Sec-Fetch-Site': 'same-site'}, BROWSER,
                                     {'Sec-Fetch-Site': 'none'}, {'Sec-Fetch-Site': 'same-origin, same-origin'},
                                     {**OPENED, 'Sec-Fetch-Site': 'cross-site'}])
def test_what_a_browser_posts_without_an_origin_is_refused(server, headers):
    assert server.call({}, headers)[0] == 403


@pytest.mark.parametrize('headers', [{'Origin': '{origin}'}, {**BROWSER, 'Origin': '{origin}'}, {}])
def test_the_page_and_scripts_may_call(server, headers):
    headers = {name: value.format(origin=server.origin) for name, value in headers.items()}
    status, answered, text = server.call({}, headers)
    assert status == 200 and 'no such action' in text
    assert not [name for name in answered if name.startswith('access-control-')]


@pytest.mark.parametrize('site', ['cross-site', 'same-site', 'none', 'same-origin'])
def test_the_page_may_be_opened_from_anywhere_but_not_shown_or_read(server, site):
    opened = {**OPENED, 'Sec-Fetch-Site': site}
    status, headers, _ = server.ask('GET', '/', opened)
    assert status == 200
    assert headers['x-frame-options'] == 'DENY' and headers['content-security-policy'] == "frame-ancestors 'none'"
    assert headers['x-content-type-options'] == 'nosniff' and headers['referrer-policy'] == 'same-origin'
    if site in ('cross-site', 'same-site'):
        for changes in ({'Sec-Fetch-Dest': 'iframe'}, {'Sec-Fetch-Dest': 'embed'}, {'Sec-Fetch-Mode': 'no-cors'},
                        {'Sec-Fetch-Mode': 'cors', 'Sec-Fetch-Dest': 'empty'}, {'Origin': 'http://evil.example'}):
            assert server.ask('GET', '/', {**opened, **changes})[0] == 403
        assert server.ask('GET', '/theme.css', opened)[0] == 403
        assert server.ask('POST', '/', opened, b'')[0] == 404


def test_the_origin_of_a_proxy(server):
    """It hands on its own name, or puts ours in its place."""
    from_proxy = {**BROWSER, 'Origin': f'https://{PROXY}'}
    for host in (PROXY, f'{PROXY}:443', server.host):
        assert server.call({}, from_proxy, hosts=[host])[0] == 200
    # Another page on the proxy's machine, where browsers do not say more: they do so for https only.
    assert server.call({}, {'Origin': f'http://{PROXY}:9'}, hosts=[f'{PROXY}:8080'])[0] == 403
    assert server.call({}, {**FOREIGN, 'Origin': f'https://{PROXY}'})[0] == 403


def test_asking_first_does_not_help(server):
    for origin in ('http://localhost:9', 'http://evil.example', server.origin):
        for host in (server.host, PROXY):
            asked = {'Origin': origin, 'Access-Control-Request-Method': 'POST'}
            status, headers, _ = server.ask('OPTIONS', CALL, asked, hosts=[host])
            assert status == 404 and not [name for name in headers if name.startswith('access-control-')]


# To which paths


def routes(router):
    """All (method, path) of gradio's application."""
    for route in router.routes:
        if hasattr(route, 'methods'):
            yield from ((method, route.path) for method in route.methods)
        else:
            yield from routes(route.original_router)


def test_of_all_that_gradio_offers_only_what_the_page_needs_is_open(server):
    offered = set(routes(server.page.app))
    assert offered >= NEEDED and ('POST', '/gradio_api/upload') in offered and len(offered) > 60
    for method, path in sorted(offered - NEEDED):
        target = re.sub(r'\{.*?\}', 'x', path)
        status, _, text = server.ask(method, target, body=b'{}' if method == 'POST' else None)
        assert status == 404 and (method == 'HEAD' or text == 'the studio has no such page\n'), (method, path)


def test_what_the_page_names_is_open(server):
    html = server.ask('GET', '/')[2]
    style = server.ask('GET', '/theme.css')[2]
    named = re.findall(r'(?:src|href)="\./(assets/[^"]+)"', html) + re.findall(r"url\('?(static/[^')]+)", style)
    assert len(named) >= 4
    frontend = pathlib.Path(gradio.__file__).parent / 'templates' / 'frontend'
    scripts = [path.relative_to(frontend).as_posix() for path in frontend.glob('static/js/*')]
    for path in [*named, *scripts, 'favicon.ico']:
        assert server.ask('GET', f'/{path}')[0] == 200, path


@pytest.mark.parametrize('target', [
    '//', '/.', '/./', '/%2e', '//gradio_api/upload', '/gradio_api//startup-events', '/gradio_api/./startup-events',
    '/gradio_api/%73tartup-events', '/Gradio_api/startup-events', '/gradio_api/startup-events/', '/theme.css/',
    '/theme.css;x', '/theme.css%00', '/theme.css%2f', '/config', '/assets/../config', '/assets/..%2fconfig', '/assets/',
    '/assets/%2e%2e/config', '/assets/.hidden', '/static/fonts/../../config', '/static/fonts//x', '/static/bokeh/x.js',
    '/gradio_api/component_server/../upload', '/gradio_api/component_server', '/gradio_api/component_server//',
    '/gradio_api/file=/etc/hostname', '/file=/etc/hostname', '/static/fonts/\\..\\x', '/static/img/a%5c..', '*',
    'http://evil.example/', 'http://127.0.0.1/config',
])
@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_no_other_way_to_write_a_path(server, method, target):
    status, _, text = server.ask(method, target, {'Content-Type': 'application/json'}, b'{}')
    assert status in (404, 400) and 'gradio' not in text.lower()
    assert status == 404 or 'Invalid HTTP request' in text


@pytest.mark.parametrize('query', ['?page=nothing', '?deep_link=../../x', '?view=api', '?__theme=dark'])
def test_a_query_reaches_nobody(server, query):
    assert server.ask('GET', f'/{query}')[2] == server.ask('GET', '/')[2]


def test_the_page_believes_no_other_host(server):
    plain = server.ask('GET', '/')[2]
    for header in ('X-Forwarded-Host', 'X-Gradio-Server'):
        assert 'evil.example' not in server.ask('GET', '/', {header: 'http://evil.example'})[2]
        assert 'evil.example' not in server.ask('GET', '/', {header: 'evil.example'})[2]
        assert server.ask('GET', '/', {header: f'{PROXY}, evil.example'})[2] == plain
    assert f'http://{PROXY}' in server.ask('GET', '/', {'X-Forwarded-Host': PROXY})[2]


def test_nothing_is_kept_of_what_strangers_send(server):
    folder = pathlib.Path(os.environ['GRADIO_TEMP_DIR'])
    before = sorted(folder.rglob('*'))
    form = (b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.bin"\r\n\r\n' + bytes(1 << 20)
            + b'\r\n--x--\r\n')
    for target in ('/gradio_api/upload', CALL):
        status, _, _ = server.ask('POST', target, {'Content-Type': 'multipart/form-data; boundary=x'}, form)
        assert status == (415 if target == CALL else 404)
    assert sorted(folder.rglob('*')) == before


# With how much


@pytest.mark.parametrize('body', [b'', b'[', b'[]', b'3', b'"x"', b'\xff', b'{}', b'[' * 200_000, b'{"data":' * 50_000,
                                  b'[' * 2000 + b']' * 2000])
def test_what_is_no_call_is_an_answer_and_no_defect(server, body):
    assert server.ask('POST', CALL, {'Content-Type': 'application/json'}, body)[0] == 400


@pytest.mark.parametrize('changes', [{'fn_name': '__init__'}, {'fn_name': None}, {'fn_name': []},
                                     {'component_id': 10 ** 6}, {'component_id': [1]}, {'component_id': None},
                                     {'session_hash': None}, {'session_hash': 'x' * (MAX_SESSION_NAME + 1)}])
def test_nothing_else_is_called(server, changes):
    assert server.call({}, **changes)[0] == 400


@pytest.mark.parametrize('data', [None, [], 3, 'open', {'action': []}, {'action': 'seed', 'token': '\ud800'}])
def test_what_is_no_request_is_a_sentence(server, data):
    status, _, text = server.call(data)
    assert status == 200 and json.loads(text)['error']


def test_no_depth_is_a_defect(server):
    for depth in (10, 100, *range(300, 1200, 50), 5000):
        body = server.envelope({'action': None}).replace(b'null', b'[' * depth + b']' * depth)
        status, _, text = server.ask('POST', CALL, {'Content-Type': 'application/json'}, body)
        assert (status == 200 and 'no such action' in text) or status == 400, depth


# Visitors


def test_a_call_knows_its_visitor(server, monkeypatch):
    seen = []
    monkeypatch.setattr(server.studio, 'call', lambda data, visitor: seen.append(visitor) or {})
    for headers, hosts in (({}, None), ({'X-Forwarded-For': '8.8.8.8, 9.9.9.9'}, [PROXY])):
        assert server.call({}, headers, hosts=hosts)[0] == 200
    assert seen == ['here 127.0.0.1', 'elsewhere 9.9.9.9']


def test_nobody_calls_without_a_door(server):
    block, = [block for block in server.page.blocks.values() if block.get_block_name() == 'html']
    with pytest.raises(LookupError):
        block.call({'action': 'open'})


def test_a_stranger_takes_half_of_the_places_and_ends_nobody(server):
    opened = json.loads(server.call({'action': 'open'})[2])
    strange = {'Origin': f'https://{PROXY}', 'X-Forwarded-For': '7.7.7.7'}
    answers = [json.loads(server.call({'action': 'open'}, strange, hosts=[PROXY])[2]) for _ in range(20)]
    assert sum('token' in answer for answer in answers) == 8
    assert 'you have 8 pages of the studio open' in answers[-1]['error']
    assert 'error' not in json.loads(server.call({'action': 'status', 'token': opened['token']})[2])
    assert 'token' in json.loads(server.call({'action': 'open'})[2])


# The door alone
