"""What comes from a page and should not: files, values and requests that make no sense."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from resefa_plugin.studio.actions import ACTIONS, Studio
from resefa_plugin.studio.limits import MAX_UPLOAD
from resefa_plugin.studio.view import mask_url
from tests.helpers.studio_pages import BOX, Page, encoded, npz, picture
from tests.helpers.toys import TinyHook


def test_an_uploaded_latent(page):
    answer = page.good('open_file', name='projected_w.npz', content=npz(w=np.full((1, 8, 4), 0.2, np.float32)))
    assert answer['state']['sample']['seed'] is None and answer['state']['sample']['note'] == 'w+ latents [1, 8, 4]'
    assert not np.array_equal(picture(answer['picture']), picture(page.opened['picture']))


class Hostile:
    def __reduce__(self):
        return (pytest.fail, ('a pickle was executed',))


@pytest.mark.parametrize('name, content, message', [
    ('w.npz', npz(w=np.zeros((1, 8, 5), np.float32)),
     r'w.npz: latents of shape [1, 8, 5] do not fit tiny: expected w+ [1, 8, 4]'),
    ('w.npz', npz(w=np.full((1, 8, 4), np.nan, np.float32)), 'expected finite numbers'),
    ('w.npz', npz(w=np.array([Hostile()], object)), 'whose loading would execute code: refused'),
    ('w.npz', npz(other=np.zeros(4)), "no array 'w' or 'z' among other"),
    ('w.npz', npz(w=np.zeros((1, 8, 4), np.float32))[:80], 'w.npz cannot be read'),
    ('w.npz', encoded(b'PK\x03\x04 cut off'), 'this zip holds no work of the studio'),
    ('w.npz', encoded(b''), 'w.npz: it is empty'),
    ('w.pt', encoded(pickle.dumps(Hostile())), 'w.pt'),
    ('w.exe', encoded(b'MZ\0'), 'w.exe: it is of no kind that is known here'),
    ('../../w.sh', encoded(b'#!/bin/sh'), "../../w.sh: it is a text that begins with '#!/bin/sh'; expected latents"),
    ('w.npz', 'not base64!', 'the file came damaged: try again'),
    pytest.param('w.npz', 'A' * (MAX_UPLOAD * 4 // 3 + 5), 'the file is larger than 24 MB', id='large'),
])
def test_bad_latents_give_a_readable_message(page, name, content, message):
    answer = page.ask('open_file', name=name, content=content)
    assert message in answer['error'] and '/tmp' not in answer['error'] and len(answer['error']) < 400
    assert page.good('status')['state']['sample']['name'] == 'seed0000'


def test_a_zip_that_swells_is_refused(page):
    """A member that claims to inflate to 2 GB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('w.npy', bytes(1 << 20))
    content = bytearray(file.getvalue())
    content[content.index(b'PK\x01\x02') + 24:][:4]
    at = content.index(b'PK\x01\x02') + 24  # the size that the index promises
    content[at:at + 4] = (1 << 31).to_bytes(4, 'little')
    assert 'damaged or forged' in page.ask('open_file', name='w.npz', content=encoded(bytes(content)))['error']


def test_a_mask_of_another_size_fits_if_its_shape_does(page):
    mask = np.zeros((64, 64), bool)
    mask[16:32, 16:40] = True
    answer = page.good('mask_file', mask=mask_url(mask))
    assert np.array_equal(picture(answer['mask']) > 0, BOX)


@pytest.mark.parametrize('mask, message', [
    (encoded(b'GIF no image'), "'mask' is not an image that can be read"),
    (mask_url(np.ones((32, 16), bool)), 'the aspect ratios differ'),
    (mask_url(np.zeros((32, 32), bool)), 'is empty'),
    (mask_url(np.ones((32, 32), bool)), "region 'a' is full"),
])
def test_bad_masks_give_a_readable_message(page, mask, message):
    answer = page.ask('region', name='a', mask=mask)
    assert message in answer['error'] and '/tmp' not in answer['error']


def test_a_picture_that_unpacks_to_gigabytes_is_refused(page):
    file = io.BytesIO()
    Image.new('1', (20_000, 20_000)).save(file, 'PNG')
    assert len(file.getvalue()) < MAX_UPLOAD
    assert 'too many pixels' in page.ask('mask_file', mask=encoded(file.getvalue()))['error']


@pytest.mark.parametrize('data', [None, 'open', [], {}, {'action': 'no'}, {'action': ['open']},
                                  {'action': '__class__'}])
def test_what_is_no_action(studio, data):
    assert 'no such action; expected open, seed' in studio.call(data)['error']


@pytest.mark.parametrize('token', [None, '', 'guess', 7, ['x'], {}])
def test_nothing_without_a_token(studio, token):
    for action in sorted(ACTIONS):
        assert studio.call({'action': action, 'token': token})['ended'], action
    assert len(studio.store) == 0


@pytest.mark.parametrize('action, values, message', [
    ('seed', {}, "'seed' is None, expected int"),
    ('seed', {'seed': '0'}, "'seed' is '0', expected int"),
    ('seed', {'seed': True}, "'seed' is True, expected int"),
    ('seed', {'seed': 1.5}, "'seed' is 1.5, expected int"),
    ('seed', {'seed': 2 ** 32}, "'seed' 4294967296 is out of range: expected 0 to 4294967295"),
    ('seed', {'seed': -1}, "'seed' -1 is out of range"),
    ('seed', {'seed': 0, 'cutoff': 10 ** 30}, "is out of range: expected 0 to 8"),
    ('seed', {'seed': 0, 'cutoff': 9}, "'cutoff' 9 is out of range: expected 0 to 8"),
    ('seed', {'seed': 0, 'cutoff': -5}, "'cutoff' -5 is out of range: expected 0 to 8"),
    ('seed', {'seed': 0, 'cutoff': 10 ** 5000}, "'cutoff' a number of thousands of digits is out of range"),
    ('seed', {'seed': 0, 'trunc': 2.1}, "'trunc' 2.1 is out of range: expected -2 to 2"),
    ('seed', {'seed': 0, 'trunc': -10 ** 9}, "'trunc' -1e+09 is out of range"),
    ('seed', {'seed': 0, 'label': '7' * 1001}, "'label' has 1001 characters, expected at most 1000"),
    ('seed', {'seed': 0, 'label': '\ud800'}, "'label' is '\\ud800', expected characters of Unicode"),
    ('open_file', {'name': 'w.npz', 'content': '', 'number': 0}, "'number' 0 is out of range: expected 1 to"),
    ('open_file', {'name': 'w.npz', 'content': '', 'number': 2 ** 53}, "'number' 9007199254740992 is out of range"),
    ('open_file', {'name': 'w' * 10 ** 6 + '.npz', 'content': ''},
     "'name' has 1000004 characters, expected at most 1000"),
    ('render', {'strengths': [['a', -1, 1]]}, "'index' -1 is out of range: expected 0 to 4"),
    ('render', {'strengths': [['a', 10 ** 30, 1]]}, "is out of range: expected 0 to 4"),
    ('render', {'strengths': [['a', 0, 20.5]]}, "'strength' 20.5 is out of range: expected -20 to 20"),
    ('render', {'strengths': [['a', 0, 1]] * 61}, "'strengths' has 61 items, expected at most 60"),
    ('cancel', {'number': -1}, "'number' -1 is out of range"),
    ('seed', {'seed': {'a': [[[[[[[[[[]]]]]]]]]]}}, "expected int"),
    ('seed', {'seed': 0, 'trunc': 'x'}, "'trunc' is 'x', expected float"),
    ('seed', {'seed': 0, 'label': '3'}, 'is unconditional: leave the class empty'),
    ('space', {'space': 'w++'}, "space 'w++' is not one of z, w, w+, s"),
    ('space', {'space': 'w', 'layers': [1]}, "'layers' is [1], expected str"),
    ('space', {'space': 'w', 'layers': '4-2'}, "'4-2' is not a list of layers: expected numbers and ascending ranges"),
    ('space', {'space': 'w', 'layers': '0-999999999'}, 'names more than 100,000 layers'),
    ('space', {'space': 'w', 'layers': '99'}, 'has layers 0 to 7'),
    ('region', {'name': '../a', 'mask': mask_url(BOX)}, 'is not fit for a file name'),
    ('region', {'name': 'a', 'mask': mask_url(BOX), 'protect': 'yes'}, "'protect' is 'yes', expected bool"),
    ('factorize', {'name': 'nothing'}, "there is no region 'nothing' to change"),
    ('render', {'strengths': 'all'}, "'strengths' is 'all', expected list"),
    ('render', {'strengths': [[1, 2]]}, 'a strength is [region, index, value]'),
    ('render', {'strengths': [['a', '0', 1]]}, "'index' is '0', expected int"),
    ('render', {'strengths': [['a', 0, 1]]}, "region 'a' has no directions yet"),
    ('heat', {}, 'nothing is changed yet'),
    ('cancel', {'number': None}, "'number' is None, expected int"),
    ('download', {'kind': '../../etc/passwd'}, 'is not one of directions, picture'),
    ('download', {'kind': 'directions', 'region': '../x'}, "region '../x' has no directions yet"),
    ('download', {'kind': 'strip'}, 'nothing is changed yet'),
])
def test_wrong_values_are_named(page, action, values, message):
    answer = page.ask(action, **values)
    assert message in answer['error'] and 'ended' not in answer


def test_what_was_out_of_range_leaves_the_page_as_it_was(page):
    before = page.good('status')['state']['sample']
    for values in ({'cutoff': 10 ** 30}, {'cutoff': -5}, {'trunc': 1e300}, {'seed': 10 ** 30}):
        assert 'is out of range' in page.ask('seed', **{'seed': 1, 'trunc': 1.0, **values})['error']
    assert page.good('status')['state']['sample'] == before
    for cutoff in (0, 8, None):
        assert page.good('seed', seed=1, cutoff=cutoff)['state']['sample']['cutoff'] == cutoff


def test_an_error_is_short_however_deep_what_came(page):
    deep = []
    for _ in range(5000):
        deep = [deep]
    for action, key in (('seed', 'seed'), ('open_file', 'name'), ('render', 'strengths'), ('keep', 'keep')):
        error = page.ask(action, **{key: {'deep': deep}})['error']
        assert ', expected ' in error and len(error) < 400
    for _ in range(5000):
        deep, = deep  # else Python would end it all at once


def test_a_defect_of_ours_is_no_traceback_on_the_page(page, monkeypatch, capsys):
    monkeypatch.setitem(ACTIONS, 'go', lambda studio, desk, data: 1 / 0)
    assert page.ask('go')['error'].startswith('something went wrong (ZeroDivisionError: division by zero)')
    assert 'Traceback' in capsys.readouterr().err


def test_global_state_of_torch_is_left_alone(page):
    page.with_directions()
    assert torch.is_grad_enabled()


def test_folders_of_an_earlier_run_are_left_alone(tmp_path):
    (tmp_path / 'session001').mkdir()
    studio = Studio(TinyHook(), ['--network=tiny'], outdir=tmp_path)
    try:
        Page(studio)
        assert studio.store is not None and studio._session_number == 2
    finally:
        studio.close()


def test_numbers_beyond_any_float_are_a_message(page):
    for value in (10 ** 400, float('nan')):
        error = page.ask('seed', seed=0, trunc=value, cutoff=None, label='')['error']
        assert "'trunc' is" in error and 'finite number' in error
