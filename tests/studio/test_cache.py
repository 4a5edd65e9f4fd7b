"""Kept Jacobians within a bound of bytes, and sessions within a bound of number and time."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.regions.partition import RegionPartition
from resefa_plugin.studio.store import SessionEnded, SessionStore
from resefa_plugin.studio.work.cache import JacobianCache, jacobian_bytes, jacobian_key
from tests.helpers.toys import TinyHook

HOOK = TinyHook()
W = HOOK.space('w')


def jacobian(seed=0, space=W):
    return RegionJacobian(Viewpoint(HOOK, space, HOOK.sample(seed), 32), gram_room=3000)


# 4 columns of float32 pictures, and 16 tiles of 8 x 8 pixels with a matrix 4 x 4 of float64 each.
ONE = 4 * 4 * 3 * 32 * 32 + 16 * 8 * 4 * 4


def test_bytes_are_those_that_are_taken():
    computed = jacobian().compute()
    computed.gram(RegionPartition.from_center(0.5, (32, 32)))
    assert jacobian_bytes(computed) == ONE == computed.matrix.nbytes + computed._grams._sums.nbytes
    small = RegionJacobian(Viewpoint(HOOK, W, HOOK.sample(0), 32), gram_room=100).compute()
    small.gram(RegionPartition.from_center(0.5, (32, 32)))
    assert jacobian_bytes(small) == small.matrix.nbytes + small._grams._total.nbytes


def test_an_opened_jacobian_stays_within_its_share():
    opened = JacobianCache(60 * ONE).open(Viewpoint(HOOK, W, HOOK.sample(0), 32))
    assert opened.gram_room == 10 * ONE and not opened.computed


def test_the_one_used_longest_ago_goes():
    cache, kept = JacobianCache(2 * ONE), {name: jacobian(seed) for seed, name in enumerate('abc')}
    cache.put('a', kept['a'])
    cache.put('b', kept['b'])
    assert cache.bytes == 2 * ONE
    assert cache.get('a') is kept['a']
    cache.put('c', kept['c'])
    assert 'b' not in cache and cache.get('b') is None and 'a' in cache and 'c' in cache
    assert cache.bytes == 2 * ONE


def test_room_is_made_before_anything_is_computed():
    cache = JacobianCache(2 * ONE)
    cache.put('a', jacobian())
    cache.put('b', jacobian(1))
    cache.make_room(jacobian(2))
    assert 'a' not in cache and cache.bytes == ONE


def test_too_large_is_an_error_that_frees_nothing():
    cache = JacobianCache(ONE)
    cache.put('a', jacobian())
    with pytest.raises(
        ResefaError,
        match=r"space 'w\+' needs 0.0 GB and the studio keeps at most .* --memory or a smaller --resolution",
    ):
        cache.put('b', jacobian(space=HOOK.space('w+')))
    assert 'a' in cache


def test_keys_tell_apart_what_gives_another_jacobian():
    sample = HOOK.sample(0, 0.7)
    moved_class = dataclasses.replace(sample, c=torch.ones(1, 3))
    keys = [
        jacobian_key(Viewpoint(HOOK, W, sample, 32)),
        jacobian_key(Viewpoint(HOOK, HOOK.space('z'), sample, 32)),
        jacobian_key(Viewpoint(HOOK, HOOK.space('w', (1,)), sample, 32)),
        jacobian_key(Viewpoint(HOOK, W, HOOK.sample(1, 0.7), 32)),
        jacobian_key(Viewpoint(HOOK, W, HOOK.sample(0, 0.6), 32)),
        jacobian_key(Viewpoint(HOOK, W, sample, 16)),
        jacobian_key(Viewpoint(HOOK, W, moved_class, 32)),
    ]
    assert len(set(keys)) == len(keys)
    assert jacobian_key(Viewpoint(HOOK, HOOK.space('w'), HOOK.sample(0, 0.7), 32)) == keys[0]


@pytest.fixture
def store():
    class Store(SessionStore):
        now, freed = 0.0, None

    made = Store(lambda token: [token], lambda token, session: made.freed.append(session), limit=4, idle_seconds=1800,
                 clock=lambda: made.now)
    made.freed = []
    return made


def test_tokens_are_long_and_lead_to_their_own_session(store):
    (first, a), (second, b) = store.open(), store.open()
    assert first != second and len(first) == 32 and a is not b
    assert store.get(first) is a and store.get(second) is b


@pytest.mark.parametrize('token', ['', 'x', None, 7, [], {}])
def test_a_wrong_token_leads_nowhere(store, token):
    store.open()
    with pytest.raises(SessionEnded, match='sessions end after 30 minutes without use.: reload the page'):
        store.get(token)


def test_idle_sessions_are_freed_and_looking_is_no_use(store):
    token, session = store.open()
    store.now = 1500
    assert store.get(token) is session
    store.now = 3000
    assert store.get(token, touch=False) is session
    store.now = 3301
    with pytest.raises(SessionEnded):
        store.get(token, touch=False)
    assert store.freed == [session] and len(store) == 0


def test_a_visitor_at_his_share_gives_up_his_own_idle_session_but_none_in_use(store):
    stranger, _ = store.open('stranger')
    (old, session), (recent, _) = store.open('me'), store.open('me')
    store.now = 30
    for token in (old, recent):
        store.get(token, touch=False)  # their pages are open
    with pytest.raises(ResefaError, match='you have 2 pages of the studio open, and one visitor has no more: close'):
        store.open('me')
    store.now = 70
    store.get(old, touch=False)
    store.get(recent)
    third, _ = store.open('me')
    assert store.freed == [session]
    assert store.get(third) and store.get(recent) and store.get(stranger)
    with pytest.raises(SessionEnded):
        store.get(old)


def test_of_his_own_those_whose_pages_are_gone_go_first(store):
    (gone, session), (idle, _) = store.open('me'), store.open('me')
    store.now = 90
    store.get(gone)  # used later than the other, whose page still asks how things stand
    store.now = 106
    store.get(idle, touch=False)
    store.open('me')
    assert store.freed == [session] and store.get(idle)


def test_a_full_store_makes_room_only_where_a_page_is_gone_for_long(store):
    opened = {name: store.open(name)[0] for name in 'abcd'}
    for now in (300, 599):
        store.now = now
        with pytest.raises(ResefaError, match='all 4 places are in use: try again in a few minutes'):
            store.open('newcomer')
        store.get(opened['a'] if now == 300 else opened['c'], touch=False)
    store.get(opened['d'], touch=False)
    store.now = 901  # both a and b are silent for long, b for longer
    store.open('newcomer')
    assert store.freed == [[opened['b']]]
    store.open('another')
    assert store.freed == [[opened['b']], [opened['a']]]
    with pytest.raises(ResefaError, match='all 4 places'):
        store.open('third')


def test_in_a_full_store_a_page_that_is_loaded_anew_takes_its_old_place(store):
    opened = {name: store.open(name)[0] for name in 'abcd'}
    store.now = 16
    for name in 'bcd':
        store.get(opened[name], touch=False)
    store.open('a')
    assert store.freed == [[opened['a']]]
    with pytest.raises(ResefaError, match='all 4 places'):
        store.open('b')  # whose page is there


def test_strangers_cannot_end_a_session_in_use_however_many_they_are(store):
    mine, _ = store.open('me')
    for second in range(0, 3000, 20):
        store.now = second
        store.get(mine)
        with contextlib.suppress(ResefaError):
            store.open(f'stranger{second}')
    assert store.get(mine) and len(store) == 4


def test_what_is_beside_a_jacobian_goes_with_it():
    cache, made = JacobianCache(1 << 30), []
    viewpoint = Viewpoint(TinyHook(), 'w', TinyHook().sample(0))

    def make(name):
        return cache.beside('a', name, lambda: made.append(name) or name)

    assert make('x') == make('x') == 'x' and made == ['x', 'x']  # of a Jacobian that is not kept
    cache.put('a', cache.open(viewpoint).compute())
    assert [make(name) for name in ('x', 'x', 'y', 'y')] == ['x', 'x', 'y', 'y'] and made[2:] == ['x', 'y']
    cache.limit = jacobian_bytes(cache.open(viewpoint))
    cache.put('b', cache.open(viewpoint).compute())
    assert 'a' not in cache and not cache._beside


def test_a_page_that_has_left_makes_room_at_once_unless_it_comes_back(store):
    (first, _), *_ = [store.open(visitor) for visitor in 'abcd']
    with pytest.raises(ResefaError, match='the studio is full'):
        store.open('e')
    store.leave(first)
    store.leave('nobody')
    store.get(first, touch=False)  # asked before it left, answered after
    store.open('e')
    with pytest.raises(SessionEnded):
        store.get(first)
    other = next(iter(store._entries))
    store.leave(other)
    store.get(other)  # the page was only loaded anew
    with pytest.raises(ResefaError, match='the studio is full'):
        store.open('f')
