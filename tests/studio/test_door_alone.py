"""The door of the studio without a server: forged requests as the web server hands them on."""

from __future__ import annotations

import asyncio
import json

import pytest

from resefa_plugin.studio.door import CALL, VISITOR, Door, Headers, visitor_of
from resefa_plugin.studio.limits import MAX_REQUEST
from tests.studio.test_door import PROXY


def scope(headers=(), method='GET', path='/', client=('127.0.0.1', 5), **changes):
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return {'type': 'http', 'method': method, 'path': path, 'raw_path': path.encode(), 'root_path': '', 'headers': raw,
            'client': client, 'query_string': b'', **changes}


@pytest.mark.parametrize('forwarded, client, who', [
    ([], '127.0.0.1', '127.0.0.1'),
    (['9.9.9.9'], '127.0.0.1', '9.9.9.9'),
    (['1.1.1.1, 9.9.9.9'], '127.0.0.1', '9.9.9.9'),  # what is before the last was sent by the visitor
    (['1.1.1.1', '9.9.9.9'], '9.9.9.9', '9.9.9.9'),
    (['1.1.1.1'], '9.9.9.9', '9.9.9.9'),  # without a proxy
    (['1.1.1.1, 9.9.9.9, 10.0.0.7, 127.0.0.1'], '10.0.0.7', '9.9.9.9'),  # two proxies
    (['9.9.9.9:1234'], '127.0.0.1', '9.9.9.9'),
    (['[2606:4700::1]:80'], '127.0.0.1', '2606:4700::/64'),
    (['2606:4700::abcd'], '127.0.0.1', '2606:4700::/64'),
    (['::ffff:9.9.9.9'], '127.0.0.1', '9.9.9.9'),
    (['9.9.9.9, unknown, '], '127.0.0.1', '9.9.9.9'),
    (['192.168.1.5'], '192.168.1.5', '192.168.1.5'),  # as the web server takes it from the proxy
    (['nonsense'], '', ''),
])
def test_who_a_visitor_is(forwarded, client, who):
    asked = scope([('X-Forwarded-For', value) for value in forwarded], client=(client, 0) if client else None)
    assert visitor_of(asked, Headers(asked), PROXY) == f'elsewhere {who}'
    assert visitor_of(asked, Headers(asked), 'localhost') == f'here {who}'


def pass_through(asked, messages=(), **options):
    """The status of the answer, and the scope and body as the application got them; None if it did not."""
    got, sent, waiting = [], [], list(messages or [{'type': 'http.request', 'body': b''}])

    async def application(scope, receive, send):
        got.extend([scope, await receive(), VISITOR.get()])
        await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'access-control-allow-origin', b'*')]})

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    options = {'components': lambda: (1,), 'share_url': lambda: None, **options}
    asyncio.run(Door(application, **options)(asked, receive, send))
    return sent, got


HOST = ('host', '127.0.0.1:7860')


JSON = ('content-type', 'application/json; charset=utf-8')


def test_websockets_are_closed():
    sent, got = pass_through({**scope([HOST]), 'type': 'websocket'})
    assert sent == [{'type': 'websocket.close', 'code': 1008}] and not got


def test_two_hosts_are_none():
    sent, got = pass_through(scope([HOST, HOST]))
    assert sent[0]['status'] == 400 and not got


def test_two_origins_are_none():
    own = ('origin', 'http://127.0.0.1:7860')
    assert pass_through(scope([HOST, own]))[0][0]['status'] == 200
    sent, got = pass_through(scope([HOST, own, ('origin', 'http://evil.example')]))
    assert sent[0]['status'] == 403 and not got


def test_a_root_path_opens_nothing():
    for root, path in (('/assets', '/assets/gradio_api/upload'), ('/assets', '/assets/config'), ('/x', '/x/config'),
                       ('/x', '/x'), ('/theme.css', '/theme.css')):
        sent, got = pass_through(scope([HOST], path=path, root_path=root))
        assert sent[0]['status'] == 404 and not got, path
    assert pass_through(scope([HOST], path='/x/theme.css', root_path='/x'))[0][0]['status'] == 200


def test_a_path_is_what_came():
    """Not what it means once its escapes are read."""
    sent, got = pass_through(scope([HOST], path='/theme.css', raw_path=b'/theme%2ecss'))
    assert sent[0]['status'] == 404 and not got


def test_frames_are_for_those_that_are_named():
    framed = [HOST, ('sec-fetch-site', 'cross-site'), ('sec-fetch-mode', 'navigate'), ('sec-fetch-dest', 'iframe')]
    assert pass_through(scope(framed))[0][0]['status'] == 403
    sent, _ = pass_through(scope(framed), frame_ancestors=['https://huggingface.co', 'https://other.example'])
    headers = dict(sent[0]['headers'])
    assert sent[0]['status'] == 200 and b'x-frame-options' not in headers
    assert headers[b'content-security-policy'] == b'frame-ancestors https://huggingface.co https://other.example'
    assert pass_through(scope(framed, method='POST', path=CALL), frame_ancestors=['x'])[0][0]['status'] == 403


def test_nobody_else_may_read_what_the_application_lets_them():
    sent, _ = pass_through(scope([HOST]))
    assert b'access-control-allow-origin' not in dict(sent[0]['headers'])


@pytest.mark.parametrize('length, status', [('9' * 19, 413), (str(MAX_REQUEST + 1), 413), ('-1', 400), ('x', 400),
                                            ('9' * 5000, 400)])
def test_a_request_that_says_that_it_is_large_is_not_read(length, status):
    sent, got = pass_through(scope([HOST, JSON, ('content-length', length)], 'POST', CALL), [None])
    assert sent[0]['status'] == status and not got
    twice = [('content-length', '1')] * 2
    sent, got = pass_through(scope([HOST, JSON, *twice], 'POST', CALL), [None])
    assert sent[0]['status'] == 400 and not got


def test_a_request_that_turns_out_large_is_not_read_to_its_end():
    part = {'type': 'http.request', 'body': bytes(1 << 20), 'more_body': True}
    parts = [part] * (MAX_REQUEST // (1 << 20)) + [{**part, 'body': b'x'}]
    sent, got = pass_through(scope([HOST, JSON], 'POST', CALL), [*parts, None])
    assert sent[0]['status'] == 413 and not got


def test_a_call_in_parts_arrives_whole():
    body = json.dumps({'data': {}, 'fn_name': 'call', 'component_id': 1, 'session_hash': 'x'}).encode()
    parts = [{'type': 'http.request', 'body': body[:9], 'more_body': True}, {'type': 'http.request', 'body': body[9:]}]
    sent, (_, message, visitor) = pass_through(scope([HOST, JSON], 'POST', CALL), parts)
    assert sent[0]['status'] == 200 and message['body'] == body and visitor == 'here 127.0.0.1'
    assert VISITOR.get(None) is None
    sent, got = pass_through(scope([HOST, JSON], 'POST', CALL), [parts[0], {'type': 'http.disconnect'}])
    assert sent[0]['status'] == 400 and not got
