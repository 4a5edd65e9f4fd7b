"""Where a network file comes from: a path, a URL that is fetched once, or bytes at hand."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from resefa_plugin.errors import CheckpointError
from resefa_plugin.machine import files

# Official files have up to 360 MB.
MAX_FILE_BYTES = 4 << 30
TIMEOUT_SECONDS = 60
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class NetworkSource:
    """A network file in memory.

    Attributes:
        name: as the user gave it; `<bytes>` for bytes.
        data: the whole file.
        sha256: of the file, hexadecimal.
    """

    name: str
    data: bytes
    sha256: str


def read_source(source: str | os.PathLike | bytes, cache_dir: str | os.PathLike | None = None,
                max_bytes: int = MAX_FILE_BYTES) -> NetworkSource:
    """Reads a network file into memory.

    Args:
        source: path, `http://` or `https://` URL, or the bytes themselves.
        cache_dir: folder for fetched files; None to use `files.cache_dir()`.
        max_bytes: larger files are refused before they are read.

    Raises:
        CheckpointError: for a file that is missing, unreadable or too large, a URL of another scheme or out of reach.
    """
    if isinstance(source, bytes):
        return NetworkSource('<bytes>', source, hashlib.sha256(source).hexdigest())
    name = os.fspath(source)
    path = Path(name)
    if isinstance(source, str) and '://' in source:
        path = _fetch(source, Path(cache_dir) if cache_dir is not None else files.cache_dir(), max_bytes)
    data = _read(path, name, max_bytes)
    return NetworkSource(name, data, hashlib.sha256(data).hexdigest())


def _read(path: Path, name: str, max_bytes: int) -> bytes:
    try:
        # A pipe or a device may never end.
        if not path.is_file():
            raise CheckpointError(f'{name}: not a file; expected the path or URL of a network file, '
                                  'or biggan:FOLDER for a BigGAN folder')
        if path.stat().st_size > max_bytes:
            raise CheckpointError(f'{name}: larger than {max_bytes} bytes, the limit for network files')
        with open(path, 'rb') as stream:
            return stream.read(max_bytes)
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{name}: cannot be read: {error}') from None


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


def _fetch(url: str, folder: Path, max_bytes: int) -> Path:
    """Downloads a URL into the cache unless it is there; a file appears under its name only when it is complete."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise CheckpointError(f'{url}: not a URL: {error}') from None
    if parts.scheme not in ('http', 'https'):
        raise CheckpointError(f'{url}: scheme {parts.scheme!r} is not fetched; expected http or https, or a path')
    stem = re.sub(r'[^A-Za-z0-9._-]', '_', parts.path.rsplit('/', 1)[-1])[-80:]
    target = folder / f'{hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()[:16]}-{stem}'
    partial = None
    try:
        if target.is_file():
            return target
        folder.mkdir(parents=True, exist_ok=True)
        with _opener().open(url, timeout=TIMEOUT_SECONDS) as response, \
                tempfile.NamedTemporaryFile(dir=folder, prefix='.partial-', delete=False) as stream:
            partial = stream.name
            _copy(response, stream, url, max_bytes)
        os.replace(partial, target)
        partial = None
    except CheckpointError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CheckpointError(f'{url}: cannot be fetched: {error}; download it by other means and give its path') \
            from None
    finally:
        if partial is not None:
            os.unlink(partial)
    return target


def _copy(response: http.client.HTTPResponse, stream: IO[bytes], url: str, max_bytes: int) -> None:
    announced = response.headers.get('Content-Length', '')
    size = 0
    while chunk := response.read(CHUNK_BYTES):
        size += len(chunk)
        if size > max_bytes:
            raise CheckpointError(f'{url}: larger than {max_bytes} bytes, the limit for network files')
        stream.write(chunk)
    if announced.isdecimal() and size != int(announced):
        raise CheckpointError(f'{url}: the transfer ended after {size} of {announced} bytes; try again')
