"""The door of the studio: by which name, from which page, to which paths and with how much anybody may come in."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias

from resefa_plugin.errors import ResefaError
from resefa_plugin.studio.limits import MAX_REQUEST

# Of ASGI, the interface between a web server and an application.
Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# Who is being answered, as `visitor_of` names him. Unset where a request did not come through the door.
VISITOR: ContextVar[str] = ContextVar('visitor')

LOCAL = frozenset({'127.0.0.1', 'localhost', '[::1]'})  # names of this machine, which no other page can have
CALL = '/gradio_api/component_server/'  # where the page calls `Studio.call`
# What the page asks for, as recorded in a browser, and what gradio asks of itself when it starts. A path is what is
# written here and nothing that means the same: no escapes, no empty or hidden parts.
_PART = r'/[A-Za-z0-9_][A-Za-z0-9_.-]*'
PATHS = {
    'GET': re.compile(r'/|/favicon\.ico|/theme\.css|/gradio_api/startup-events|'
                      rf'/assets(?:{_PART})+|/static/(?:fonts|img|js)(?:{_PART})+'),
    'HEAD': re.compile('/'),
    'POST': re.compile(re.escape(CALL)),
}
MAX_SESSION_NAME = 64  # characters; gradio's pages take about a dozen
_NAME = r'(\[[0-9a-f:.]{2,45}\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)'
_HOST = re.compile(rf'{_NAME}(?::\d{{1,5}})?')
_ORIGIN = re.compile(rf'https?://({_NAME}(?::\d{{1,5}})?)')
_DEFAULT_PORT = re.compile(r':(?:80|443)$')  # which some write and some leave out
_RESPONSE_HEADERS = ((b'x-content-type-options', b'nosniff'), (b'referrer-policy', b'same-origin'))


class Refused(Exception):
    """A request that is answered with `status` and a line of text."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


def host_name(text: str) -> str:
    """A name under which the studio may be opened, in lower case. Raises ResefaError for anything more than a name."""
    match = re.fullmatch(_NAME, text.lower())
    if not match:
        raise ResefaError(f"--allow-host={text!r} is not the name of a host: expected one such as studio.example.org, "
                          'without https://, port and path')
    return match[1]


class Headers:
    """The headers of a request by name, each with all the values that came."""

    def __init__(self, scope: Scope):
        self._values: dict[str, list[str]] = {}
        for name, value in scope['headers']:
            self._values.setdefault(name.decode('latin-1').lower(), []).append(value.decode('latin-1').strip())

    def all(self, name: str) -> list[str]:
        """Its values; an empty list if it did not come."""
        return self._values.get(name, [])

    def one(self, name: str) -> str | None:
        """Its value in lower case; None if it did not come. Of a doubled one, something that no header can be."""
        values = self.all(name)
        return ', '.join(values).lower() if values else None


class Door:
    """ASGI middleware that lets the page's own requests in, and nobody else's; what it refuses, gradio never sees.

    Args:
        app: gradio's application, with all its own middleware.
        components: the numbers of the components of its page.
        share_url: what the public link is by now; None for none.
        allow_hosts: further names under which the page may be opened, such as that of a proxy, as `host_name` has them.
        frame_ancestors: origins whose pages may show the page in a frame; none by default.
    """

    def __init__(self, app: Application, components: Callable[[], Collection[int]],
                 share_url: Callable[[], str | None], allow_hosts: Iterable[str] = (),
                 frame_ancestors: Sequence[str] = ()):
        self.app, self._components, self._share_url = app, components, share_url
        self._allow_hosts = frozenset(allow_hosts)
        self._framed = bool(frame_ancestors)
        policy = 'frame-ancestors ' + (' '.join(frame_ancestors) or "'none'")
        self._response_headers = [*_RESPONSE_HEADERS, (b'content-security-policy', policy.encode('ascii'))]
        if not self._framed:  # it cannot name anybody
            self._response_headers.append((b'x-frame-options', b'DENY'))

    def _elsewhere(self) -> frozenset[str]:
        """The allowed names that are not this machine's."""
        shared = _ORIGIN.fullmatch((self._share_url() or '').lower().rstrip('/'))
        return self._allow_hosts | {shared[2]} if shared else self._allow_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands a request on, or answers why not. The page has no use for websockets."""
        if scope['type'] != 'http':
            return await send({'type': 'websocket.close', 'code': 1008})

        async def guarded_send(message: Message) -> None:
            if message['type'] == 'http.response.start':
                # What gradio would let other pages read is none of their business.
                own = [(name, value) for name, value in message.get('headers', ())
                       if not name.lower().startswith(b'access-control-')]
                message = {**message, 'headers': [*own, *self._response_headers]}
            await send(message)

        headers = Headers(scope)
        try:
            name = self._check_host(headers)
            _check_path(scope)
            self._check_page(scope, headers, name)
            _check_content(scope, headers)
            if scope['method'] == 'POST':
                body = await _read_body(receive)
                _check_call(body, self._components())
                receive = _replayed(body, receive)
        except Refused as refusal:
            text = f'{refusal}\n'.encode()
            own = [(b'content-type', b'text/plain; charset=utf-8'), (b'content-length', str(len(text)).encode())]
            await guarded_send({'type': 'http.response.start', 'status': refusal.status, 'headers': own})
            return await guarded_send({'type': 'http.response.body', 'body': text})
        token = VISITOR.set(visitor_of(scope, headers, name))
        try:
            await self.app(self._handed_on(scope, headers), receive, guarded_send)
        finally:
            VISITOR.reset(token)

    def _check_host(self, headers: Headers) -> str:
        """The name under which the page was opened. Another one may be a trick: a name that now leads here."""
        remedy = 'open http://127.0.0.1 with its port, or start the studio with --allow-host=HOST for another name'
        hosts = headers.all('host')
        match = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        if not match:
            raise Refused(400, f'the request does not say which host it is for: {remedy}')
        if match[1] not in LOCAL | self._elsewhere():
            raise Refused(403, f'the studio does not answer to the name {match[1]}: {remedy}')
        return match[1]

    def _check_page(self, scope: Scope, headers: Headers, name: str) -> None:
        """Refuses what a page of somebody else asks for; that it is opened, by a link or an address, is fine."""
        refusal = Refused(403, 'this was asked by another page than the studio: open the studio itself. Behind a proxy '
                               'that is named with --allow-host=HOST, the proxy has to hand on the Host as it comes')
        site, origins = headers.one('sec-fetch-site'), headers.all('origin')
        opened = ('document', 'iframe', 'frame') if self._framed else ('document',)
        opening = (scope['path'] == '/' and scope['method'] == 'GET' and headers.one('sec-fetch-mode') == 'navigate'
                   and headers.one('sec-fetch-dest') in opened)
        if site not in (None, 'none', 'same-origin') and not opening:
            raise refusal
        if not origins:
            # Browsers name the origin of whatever they post, other programs have none.
            if scope['method'] == 'POST' and site is not None:
                raise refusal
            return
        origin = _ORIGIN.fullmatch(origins[0].lower()) if len(origins) == 1 else None  # 'null' is none
        if not origin:
            raise refusal
        host = headers.all('host')[0].lower()
        same = _DEFAULT_PORT.sub('', origin[1]) == _DEFAULT_PORT.sub('', host)
        # A proxy that speaks to this machine by its own name.
        if not same and not (name in LOCAL and origin[2] in self._elsewhere()):
            raise refusal

    def _handed_on(self, scope: Scope, headers: Headers) -> Scope:
        """The request without a query, which is never used, and without names that gradio would take for its own."""
        ours = LOCAL | self._elsewhere()
        forwarded = [_HOST.fullmatch(part.strip().lower()) for value in headers.all('x-forwarded-host')
                     for part in value.split(',')]
        dropped = {b'x-gradio-server'}
        if not all(match and match[1] in ours for match in forwarded):
            dropped.add(b'x-forwarded-host')
        kept = [(name, value) for name, value in scope['headers'] if name.lower() not in dropped]
        return {**scope, 'headers': kept, 'query_string': b''}


def _check_path(scope: Scope) -> None:
    """Refuses every path that the page does not need; `root_path` is where a proxy has put the page."""
    path, raw, pattern = scope['path'], scope.get('raw_path'), PATHS.get(scope['method'])
    plain = raw is None or raw == path.encode()
    if not (plain and pattern and pattern.fullmatch(path.removeprefix(scope.get('root_path', '')))):
        raise Refused(404, 'the studio has no such page')


def _check_content(scope: Scope, headers: Headers) -> None:
    """Refuses what is too large by what it says, and forms, whose files gradio would keep."""
    length = headers.one('content-length') or '0'
    if not re.fullmatch('[0-9]{1,20}', length):
        raise Refused(400, 'expected one length of the content')
    if int(length) > MAX_REQUEST:
        raise Refused(413, 'too large')
    if scope['method'] == 'POST' and (headers.one('content-type') or '').split(';')[0] != 'application/json':
        raise Refused(415, 'expected application/json')


async def _read_body(receive: Receive) -> bytes:
    """All that a client sends, whatever it said of its length before."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get('body', b'')
        if len(body) > MAX_REQUEST:
            raise Refused(413, 'too large')
        if not message.get('more_body'):
            return bytes(body)


def _check_call(body: bytes, components: Collection[int]) -> None:
    """Refuses a call that is not one of `Studio.call`; gradio keeps each name of a session, however long it is."""
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, 'expected JSON, not too deep') from None
    fields = call if isinstance(call, dict) else {}
    component, session = fields.get('component_id'), fields.get('session_hash')
    if (fields.get('fn_name') != 'call' or not isinstance(component, int) or component not in components
            or not isinstance(session, str) or len(session) > MAX_SESSION_NAME):
        raise Refused(400, 'expected a call of the studio')


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives what was read already, and then whatever comes."""
    messages = [{'type': 'http.request', 'body': body}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


def visitor_of(scope: Scope, headers: Headers, name: str) -> str:
    """Who is asking: an address, and whether the page was opened by a name of this machine.

    Each proxy writes behind what it was told the address that it sees. So the last address that is not that of
    another proxy in a private network is true if there is a proxy, and what is before it may be forged. IPv6 addresses
    count by their network of 64 bits: a visitor has all of it.
    """
    client = (scope.get('client') or ('',))[0]
    forwarded = [part for value in headers.all('x-forwarded-for') for part in value.split(',')]
    addresses = [address for address in map(_address, [*forwarded, client]) if address]
    public = [address for address in addresses if address.is_global]
    who: object = client
    if public:
        who = public[-1]
        if public[-1].version == 6:
            who = ipaddress.ip_network((public[-1], 64), strict=False)
    return f'{"here" if name in LOCAL else "elsewhere"} {who}'


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as proxies write it, perhaps with a port; None if it is none."""
    text = text.strip()
    match = re.fullmatch(r'\[(.+)\](?::\d+)?|([\d.]+):\d+', text)
    try:
        address = ipaddress.ip_address((match[1] or match[2]) if match else text)
    except ValueError:
        return None
    return getattr(address, 'ipv4_mapped', None) or address
