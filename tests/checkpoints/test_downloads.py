"""Where network files come from: paths, and links that are fetched once, resumed, and kept only if they are files."""

from __future__ import annotations

import hashlib
import http.server
import threading
import urllib.error
import urllib.request

import pytest

from resefa_plugin.checkpoints import downloads, network_source
from resefa_plugin.checkpoints.generator_file import read_generator
from resefa_plugin.errors import CheckpointError
from tests.checkpoints.test_nvlabs_pickle import snapshot
from tests.helpers.pickle_forge import dumps


@pytest.mark.parametrize('name', ['missing.pkl', '', '.', 'nul\0byte', '/dev/zero'])
def test_what_is_no_file_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match='not a file|cannot be read'):
        read_generator(name)


def test_a_file_beyond_the_limit_is_refused(tmp_path):
    path = tmp_path / 'large'
    path.write_bytes(bytes(11))
    assert network_source.read_source(path, max_bytes=11).data == bytes(11)
    with pytest.raises(CheckpointError, match='larger than 10 bytes'):
        network_source.read_source(path, max_bytes=10)


@pytest.fixture
def server():
    """A web server on this machine: path -> (status, headers, body); counts the requests."""
    pages: dict[str, tuple[int, dict, bytes]] = {}
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            page = pages.get(self.path, (404, {}, b''))
            status, headers, body = page(self.headers) if callable(page) else page
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(('127.0.0.1', 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        try:
            yield f'http://127.0.0.1:{httpd.server_port}', pages, requests
        finally:
            httpd.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv('no_proxy', '*')


def test_a_url_is_fetched_once(server, tmp_path, monkeypatch):
    base, pages, requests = server
    data = dumps(snapshot())
    pages['/nets/a%20b.pkl?v=1'] = (200, {'Content-Length': str(len(data))}, data)
    url = f'{base}/nets/a%20b.pkl?v=1'
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'cache'))
    for _ in range(2):
        file = read_generator(url)
        assert (file.name, file.sha256) == (url, hashlib.sha256(data).hexdigest())
    assert len(requests) == 1
    (cached,) = (tmp_path / 'cache').iterdir()
    assert cached.read_bytes() == data and cached.name.endswith('-a_20b.pkl')
    read_generator(url, cache_dir=tmp_path / 'other')
    assert len(requests) == 2 and len(list((tmp_path / 'other').iterdir())) == 1


def test_failed_transfers_leave_nothing_behind(server, tmp_path, monkeypatch):
    base, pages, _ = server
    pages['/short'] = (200, {'Content-Length': '30'}, b'abc')
    pages['/announced'] = (200, {'Content-Length': '41'}, b'')
    pages['/large'] = (200, {}, b'\x80\4' + bytes(50))
    pages['/endless'] = (200, {}, dumps([1, 2])[:-3])
    pages['/cut-zip'] = (200, {}, b'PK\3\4' + bytes(30))
    pages['/to-file'] = (302, {'Location': 'file:///etc/hostname'}, b'')
    pages['/to-ftp'] = (302, {'Location': 'ftp://127.0.0.1/x'}, b'')
    pages['/loop'] = (302, {'Location': '/loop'}, b'')
    for path, message in [('/short', ''), ('/endless', ''), ('/cut-zip', ''), ('/to-file', ''), ('/to-ftp', ''),
                          ('/loop', ''), ('/missing', '404'), ('/large', 'larger than 40 bytes'),
                          ('/announced', 'larger than 40 bytes')]:
        message = message if 'larger' in message else f'cannot be fetched.*{message}'
        with pytest.raises(CheckpointError, match=message):
            network_source.read_source(base + path, tmp_path, max_bytes=40)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('before, after', [('https', 'http'), ('http', 'ftp'), ('https', 'file')])
def test_redirects_never_lead_to_less(before, after):
    request = urllib.request.Request(f'{before}://host/x')
    with pytest.raises(urllib.error.URLError, match=f'redirects from {before}'):
        downloads._SafeRedirects().redirect_request(request, None, 302, 'Found', {}, f'{after}://host/x')


@pytest.mark.parametrize('before, after', [('https', 'https'), ('http', 'http'), ('http', 'https')])
def test_other_redirects_are_followed(before, after):
    request = urllib.request.Request(f'{before}://host/x')
    followed = downloads._SafeRedirects().redirect_request(request, None, 302, 'Found', {}, f'{after}://host/y')
    assert followed.full_url == f'{after}://host/y'


def test_a_url_out_of_reach_is_an_error(server, tmp_path):
    base, _, _ = server
    with pytest.raises(CheckpointError, match='cannot be fetched.*give its path'):
        read_generator('http://127.0.0.1:1/network.pkl', tmp_path)
    blocked = tmp_path / 'blocked'
    blocked.write_text('not a folder')
    with pytest.raises(CheckpointError, match='cannot be fetched'):
        read_generator(f'{base}/x', blocked)


@pytest.mark.parametrize('url', ['file:///etc/hostname', 'ftp://127.0.0.1/x', 'data://text/plain,x', 'FILE://x',
                                 'http://[bad'])
def test_other_schemes_are_refused(url, tmp_path):
    with pytest.raises(CheckpointError, match='is not fetched; expected http or https|not a URL'):
        read_generator(url, tmp_path)


def test_the_default_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path))
    folders = []
    monkeypatch.setattr(network_source, 'fetch',
                        lambda url, folder, max_bytes: folders.append(folder) or tmp_path / 'none')
    for cache_dir in (None, tmp_path / 'other'):
        with pytest.raises(CheckpointError):
            network_source.read_source('https://127.0.0.1/x.pkl', cache_dir)
    assert folders == [tmp_path, tmp_path / 'other']


@pytest.mark.parametrize('body, message', [
    (b'<!DOCTYPE html><html>Sign in</html>', 'web page, not the file itself.*open the link in a browser'),
    (b'\n<html><head><title>Quota exceeded</title>', 'web page'),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', 'web page'),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 360\n', "git-lfs pointer.*'git lfs pull'"),
    (b'{"error": "not found"}', "a text that begins with '{\"error\": \"not found\"}'"),
    (b'\x89PNG\r\n\x1a\n0000', 'a picture'),
    (b'', 'empty: it has 0 bytes'),
])
def test_an_answer_that_is_no_file_is_not_kept(server, tmp_path, body, message):
    base, pages, requests = server
    pages['/net.pkl'] = (200, {'Content-Length': str(len(body))}, body)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=f'^{base}/net.pkl: it is .*{message}.*Nothing was kept of it$'):
            read_generator(f'{base}/net.pkl', tmp_path)
    assert list(tmp_path.iterdir()) == [] and len(requests) == 2
    data = dumps(snapshot())
    pages['/net.pkl'] = (200, {}, data)
    assert read_generator(f'{base}/net.pkl', tmp_path).sha256 == hashlib.sha256(data).hexdigest()


def breaking(data: bytes, breaks: list[int], headers: dict | None = None, ranges: list | None = None):
    """A page that breaks off after so many bytes, each time it is asked for, and then does not."""
    def page(asked):
        start = 0
        if ranges is not None:
            ranges.append(asked.get('Range'))
        status, extra = 200, {'Accept-Ranges': 'bytes', 'ETag': '"one"', **(headers or {})}
        if asked.get('Range') and asked.get('If-Range') == extra['ETag']:
            start = int(asked['Range'].removeprefix('bytes=').rstrip('-'))
            status = 206
        rest = data[start:]
        length = breaks.pop(0) if breaks else len(rest)
        return status, {**extra, 'Content-Length': str(len(rest))}, rest[:length]
    return page


def test_a_transfer_that_breaks_off_goes_on(server, tmp_path, monkeypatch):
    base, pages, requests = server
    monkeypatch.setattr(downloads.time, 'sleep', lambda seconds: None)
    data, ranges = dumps(snapshot()), []
    pages['/net.pkl'] = breaking(data, [1000, 500], ranges=ranges)
    assert network_source.read_source(f'{base}/net.pkl', tmp_path).data == data
    assert ranges == [None, 'bytes=1000-', 'bytes=1500-']
    assert [path.name[16:] for path in tmp_path.iterdir()] == ['-net.pkl']


def test_the_next_call_goes_on_where_the_last_one_gave_up(server, tmp_path, monkeypatch):
    base, pages, _ = server
    monkeypatch.setattr(downloads.time, 'sleep', lambda seconds: None)
    monkeypatch.setattr(downloads, 'ATTEMPTS', 1)
    data, ranges = dumps(snapshot()), []
    pages['/net.pkl'] = breaking(data, [1000], ranges=ranges)
    with pytest.raises(CheckpointError, match='cannot be fetched'):
        network_source.read_source(f'{base}/net.pkl', tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == ['.resume']
    assert network_source.read_source(f'{base}/net.pkl', tmp_path).data == data
    assert ranges == [None, 'bytes=1000-'] and [path.suffix for path in tmp_path.iterdir()] == ['.pkl']


def test_another_file_under_the_same_link_starts_anew(server, tmp_path, monkeypatch):
    base, pages, _ = server
    monkeypatch.setattr(downloads, 'ATTEMPTS', 1)
    pages['/net.pkl'] = breaking(dumps(snapshot()), [1000])
    with pytest.raises(CheckpointError, match='cannot be fetched'):
        network_source.read_source(f'{base}/net.pkl', tmp_path)
    data = dumps([1] * 900)
    pages['/net.pkl'] = breaking(data, [], {'ETag': '"two"'})
    assert network_source.read_source(f'{base}/net.pkl', tmp_path).data == data


def test_what_nobody_came_back_for_is_removed(server, tmp_path, monkeypatch):
    base, pages, _ = server
    old = tmp_path / '.0123456789abcdef.resume'
    old.write_bytes(b'"x"\nabc')
    monkeypatch.setattr(downloads, 'RESUMABLE_SECONDS', -1.0)
    pages['/net.pkl'] = (200, {}, dumps([1]))
    network_source.read_source(f'{base}/net.pkl', tmp_path)
    assert not old.exists()


FORM = ('<!DOCTYPE html><html><form id="download-form" action="{}" method="get"><input type="hidden" name="id" '
        'value="abc"><input type="hidden" name="uuid" value="1-2"></form></html>')


def test_a_page_that_asks_back_is_answered(server, tmp_path):
    """Google Drive asks about files that are too large for its virus scan."""
    base, pages, requests = server
    data = dumps(snapshot())
    pages['/file'] = (200, {}, FORM.format(f'{base}/download').encode())
    pages['/download?id=abc&uuid=1-2'] = (200, {}, data)
    assert network_source.read_source(f'{base}/file', tmp_path).data == data
    # once, and never elsewhere
    pages['/loop'] = (200, {}, FORM.format(f'{base}/download2').encode())
    pages['/download2?id=abc&uuid=1-2'] = pages['/loop']
    pages['/away'] = (200, {}, FORM.format('http://127.0.0.2:9/download').encode())
    for path, count in (('/loop', 2), ('/away', 1)):
        del requests[:]
        with pytest.raises(CheckpointError, match='web page'):
            network_source.read_source(base + path, tmp_path)
        assert len(requests) == count


DRIVE = 'https://drive.usercontent.google.com/download?id=1aB-c_2&export=download&confirm=t'


@pytest.mark.parametrize('link, direct', [
    ('https://drive.google.com/file/d/1aB-c_2/view?usp=sharing', DRIVE),
    ('https://drive.google.com/file/d/1aB-c_2', DRIVE),
    ('https://drive.google.com/uc?id=1aB-c_2', DRIVE),
    ('https://drive.google.com/uc?export=download&id=1aB-c_2', DRIVE),
    ('https://drive.google.com/open?id=1aB-c_2', DRIVE),
    ('https://docs.google.com/uc?export=download&id=1aB-c_2', DRIVE),
    ('https://huggingface.co/who/what/blob/main/a/net.pkl', 'https://huggingface.co/who/what/resolve/main/a/net.pkl'),
    ('https://github.com/who/what/blob/main/net.pkl', 'https://github.com/who/what/raw/main/net.pkl'),
    ('https://www.dropbox.com/s/abc/net.pkl?dl=0', 'https://www.dropbox.com/s/abc/net.pkl?dl=1'),
    ('https://example.org/blob/net.pkl?download=true', 'https://example.org/blob/net.pkl?download=true'),
])
def test_links_to_pages_about_a_file(link, direct):
    assert downloads.direct_link(link) == direct


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'net.pkl').write_bytes(dumps(snapshot()))
    assert read_generator('~/net.pkl').entry == 'G_ema'
