"""Network files from the web: the links that people copy, resumed where they broke off, kept only if they are files."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import IO

from tqdm import tqdm

from resefa_plugin.checkpoints import formats
from resefa_plugin.errors import CheckpointError, ResefaError
from resefa_plugin.machine.files import replacing

TIMEOUT_SECONDS = 60
CHUNK_BYTES = 1 << 20
ATTEMPTS = 4
# What a broken transfer left is thrown away after so many seconds: nobody comes back for it.
RESUMABLE_SECONDS = 7 * 24 * 3600.0
SHOWN_BYTES = 8 << 20  # smaller files have no progress bar
PAGE_BYTES = 1 << 20

# Links to pages about a file -> links to the file.
_LINKS = (
    (re.compile(r'https?://(?:drive|docs)\.google\.com/(?:file/d/|(?:open|uc)\?(?:[^#]*&)?id=)([\w-]+).*'),
     r'https://drive.usercontent.google.com/download?id=\1&export=download&confirm=t'),
    (re.compile(r'(https://(?:huggingface\.co|hf\.co)/.+?)/blob/(.+)'), r'\1/resolve/\2'),
    (re.compile(r'https://github\.com/([^/]+/[^/]+)/blob/(.+)'), r'https://github.com/\1/raw/\2'),
    (re.compile(r'(https://www\.dropbox\.com/[^?]+\?(?:[^#]*&)?)dl=0(.*)'), r'\1dl=1\2'),
)
# Google asks back about files that it has not scanned: a form whose fields, sent along, make the link to the file.
_FORM = re.compile(r'<form[^>]*\baction="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
_FIELD = re.compile(r'<input[^>]*\bname="([^"]+)"[^>]*\bvalue="([^"]*)"')


def direct_link(url: str) -> str:
    """The link to a file itself, where a link to a page about it is of a known form; else the link as it is."""
    for pattern, replacement in _LINKS:
        if match := pattern.fullmatch(url):
            return match.expand(replacement)
    return url


def fetch(url: str, folder: Path, max_bytes: int) -> Path:
    """Downloads a URL into a folder unless it is there. A file appears under its name only when it is complete.

    If the transfer breaks off and the server can go on where it did, that is tried, now and at the next call.

    Raises CheckpointError for another scheme than http and https, for what cannot be fetched, is larger than
    `max_bytes` or is no file that anybody can read, such as a web page: that is not kept.
    """
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise CheckpointError(f'{url}: not a URL: {error}') from None
    if parts.scheme not in ('http', 'https'):
        raise CheckpointError(f'{url}: scheme {parts.scheme!r} is not fetched; expected http or https, or a path')
    stem = re.sub(r'[^A-Za-z0-9._-]', '_', parts.path.rsplit('/', 1)[-1])[-80:]
    key = hashlib.sha256(url.encode('utf-8', 'replace')).hexdigest()[:16]
    target = folder / f'{key}-{stem}'
    try:
        if target.is_file():
            return target
        with replacing(target) as part:
            try:
                _Transfer(url, folder / f'.{key}.resume', max_bytes).run(part)
            except CheckpointError:
                raise
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise CheckpointError(f'{url}: cannot be fetched: {error}; download it by other means and give its '
                                      'path') from None
    except CheckpointError:
        raise
    except (OSError, ResefaError) as error:
        raise CheckpointError(f'{url}: cannot be fetched: {error}') from None
    return target


class _Transfer:
    """One download.

    Args:
        url: as the user gave it.
        kept: where the bytes are kept between two calls if the transfer breaks off.
        max_bytes: that it may have.
    """

    def __init__(self, url: str, kept: Path, max_bytes: int):
        self.url, self.link, self.kept, self.max_bytes = url, direct_link(url), kept, max_bytes
        self.validator = ''
        self.was_asked_back = False

    def run(self, part: Path) -> None:
        """Fetches everything into `part`, an empty file. Raises OSError, HTTPException and CheckpointError."""
        self._take_up(part)
        for attempt in range(ATTEMPTS):
            try:
                if self._receive(part) or self._receive(part):  # the second time if it asked back
                    return
            except urllib.error.HTTPError as error:
                if error.code != 416 or not self.validator:  # it has no such range: what was kept is of another file
                    raise
                self.validator = ''
            except (OSError, http.client.HTTPException):
                if not self.validator or attempt + 1 == ATTEMPTS:
                    self._keep(part)
                    raise
                time.sleep(attempt)
            except KeyboardInterrupt:
                self._keep(part)
                raise

    def _receive(self, part: Path) -> bool:
        """Receives what is missing; False if it was a form that asks back, whose answer is the link from now on."""
        start = part.stat().st_size if self.validator else 0
        headers = {'User-Agent': 'resefa_plugin'}
        if start:
            headers |= {'Range': f'bytes={start}-', 'If-Range': self.validator}
        with _opener().open(urllib.request.Request(self.link, headers=headers), timeout=TIMEOUT_SECONDS) as response:
            resumed = start > 0 and response.status == 206
            start = start if resumed else 0
            if not resumed:
                os.truncate(part, 0)
                self.validator = _validator(response)
            announced = response.headers.get('Content-Length', '')
            total = start + int(announced) if announced.isdecimal() else None
            if total is not None and total > self.max_bytes:
                raise self._too_large()
            with open(part, 'r+b') as stream:
                stream.seek(start)
                self._copy(response, stream, start, total)
        return self._check(part)

    def _copy(self, response: http.client.HTTPResponse, stream: IO[bytes], size: int, total: int | None) -> None:
        with tqdm(total=total, initial=size, unit='B', unit_scale=True, desc='download', leave=False,
                  disable=None if total is None or total > SHOWN_BYTES else True) as bar:
            while chunk := response.read(CHUNK_BYTES):
                size += len(chunk)
                if size > self.max_bytes:
                    raise self._too_large()
                stream.write(chunk)
                bar.update(len(chunk))
        if total is not None and size != total:
            raise http.client.IncompleteRead(b'', total - size)

    def _check(self, part: Path) -> bool:
        """Whether a complete file came; False for a form that asks back. Raises CheckpointError for what is no file."""
        size = part.stat().st_size
        with open(part, 'rb') as file:
            head = file.read(formats.HEAD_BYTES)
            kind = formats.format_of(head)
            if kind is formats.WEB_PAGE and size < PAGE_BYTES and not self.was_asked_back:
                link = _asked_back(self.link, head + file.read())
                if link is not None:
                    self.link, self.validator, self.was_asked_back = link, '', True
                    return False
        if kind in formats.NEVER_KEPT:
            said = formats.refusal(kind, 'a network file', head)
            raise CheckpointError(f'{self.url}: {said}. Nothing was kept of it')
        if _is_cut_off(kind, part):
            raise http.client.IncompleteRead(b'')
        return True

    def _too_large(self) -> CheckpointError:
        return CheckpointError(f'{self.url}: larger than {self.max_bytes} bytes, the limit for network files')

    # What a broken transfer left: the validator in one line, and the bytes.

    def _keep(self, part: Path) -> None:
        if self.validator and part.stat().st_size:
            with open(part, 'rb') as source, replacing(self.kept) as kept, open(kept, 'wb') as target:
                target.write(self.validator.encode('latin-1', 'replace') + b'\n')
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)

    def _take_up(self, part: Path) -> None:
        with contextlib.suppress(OSError):
            for other in self.kept.parent.glob('.*.resume'):
                if time.time() - other.stat().st_mtime > RESUMABLE_SECONDS:
                    other.unlink()
        with contextlib.suppress(OSError), open(self.kept, 'rb') as source:
            validator = source.readline(1024).decode('latin-1').strip()
            with open(part, 'r+b') as target:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
            self.validator = validator
            self.kept.unlink()


def _is_cut_off(kind: formats.Format, path: Path) -> bool:
    """Whether a file lacks its end, where its kind has a mark for it: servers need not say how long files are."""
    if kind is formats.PICKLE:
        with open(path, 'rb') as file:
            file.seek(-1, os.SEEK_END)
            return file.read() != b'.'
    with open(path, 'rb') as file:
        return file.read(2) == b'PK' and not zipfile.is_zipfile(path)


def _validator(response: http.client.HTTPResponse) -> str:
    """What tells that a file is still the same one: its strong ETag, else its date; empty if it cannot be resumed."""
    if response.headers.get('Accept-Ranges', '').lower() != 'bytes':
        return ''
    etag = response.headers.get('ETag', '')
    return etag if etag.startswith('"') else response.headers.get('Last-Modified', '')


def _asked_back(link: str, page: bytes) -> str | None:
    """The link that a form on a page leads to, if it is the form of a download."""
    form = _FORM.search(page.decode('utf-8', 'replace'))
    if form is None or 'download' not in form[1]:
        return None
    fields = {name: value for name, value in _FIELD.findall(form[2])}
    action = urllib.parse.urljoin(link, form[1].replace('&amp;', '&'))
    if urllib.parse.urlsplit(action).netloc != urllib.parse.urlsplit(link).netloc or not fields:
        return None
    return f'{action.partition("?")[0]}?{urllib.parse.urlencode(fields)}'


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http(s) only, and never from https to http."""

    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
                         headers: http.client.HTTPMessage, newurl: str) -> urllib.request.Request | None:
        before, after = (urllib.parse.urlsplit(url).scheme for url in (req.full_url, newurl))
        if after != 'https' and (before, after) != ('http', 'http'):
            raise urllib.error.URLError(f'it redirects from {before} to {newurl!r}')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # `build_opener` would add handlers for file, ftp and data.
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), urllib.request.HTTPHandler(),
                    urllib.request.HTTPSHandler(), urllib.request.HTTPDefaultErrorHandler(), _SafeRedirects(),
                    urllib.request.HTTPErrorProcessor()):
        opener.add_handler(handler)
    return opener
