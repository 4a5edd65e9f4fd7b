"""Regions from the texts of a command line."""

from __future__ import annotations

import re

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from resefa_plugin.errors import RegionError
from resefa_plugin.regions.partition import REGION_HELP, RegionPartition, parse_region
from resefa_plugin.regions.presets import PRESETS
from tests.helpers.regions import LEFT, SIZE, rectangle, save


@pytest.mark.parametrize('spec, box', [
    ('10,20,5,7', (10, 20, 5, 7)),
    (' 10, 20, 5, 7 ', (10, 20, 5, 7)),
    ('0,0,1,1', (0, 0, 1, 1)),
    ('0,0,1,0.5', (0, 0, 64, 24)),
    ('.25,.5,.5,.25', (16, 24, 32, 12)),
    ('box:x=10,y=20,w=5,h=7', (10, 20, 5, 7)),
    ('box:h=0.25,w=0.5,y=0.5,x=0.25', (16, 24, 32, 12)),
    ('center:0.5', (16, 12, 32, 24)),
    ('left_side', (0, 0, 32, 48)),
])
def test_parse_boxes_and_presets(spec, box):
    assert rectangle(parse_region(spec, SIZE)) == box


def preset(name):
    return RegionPartition.from_preset(name, (256, 256)).mask


@pytest.mark.parametrize('spec, mask, name', [
    ('mouth+nose', preset('mouth') | preset('nose'), 'mouth_or_nose'),
    ('face & ~eyes', preset('face') & ~preset('eyes'), 'face_and_not_eyes'),
    ('~mouth', ~preset('mouth'), 'not_mouth'),
    ('~ ~mouth', preset('mouth'), 'mouth'),
    ('mouth+eyes&left_eye', preset('mouth') | preset('left_eye'), 'mouth_or_eyes_and_left_eye'),
    ('eyes&left_eye+mouth&chin', preset('left_eye') | preset('mouth') & preset('chin'), None),
    ('smile = mouth+left_cheek+right_cheek', preset('mouth') | preset('left_cheek') | preset('right_cheek'), 'smile'),
    ('a-1=~10,20,5,7', ~RegionPartition.from_box(10, 20, 5, 7, (256, 256)).mask, 'a-1'),
])
def test_parse_operators(spec, mask, name):
    region = parse_region(spec, (256, 256))
    assert (region.mask == mask).all()
    assert name is None or region.name == name


def test_parse_files(tmp_path, mask_file, monkeypatch):
    np.save(tmp_path / 'parts.npy', np.where(LEFT, 5, 3))
    monkeypatch.chdir(tmp_path)
    for spec in ['mask:left.png', 'left.png', mask_file, f'mask:{mask_file}', 'lips=left.png', '~labels:parts.npy:3',
                 'labels:parts.npy:5', 'labels:parts.npy: 1, 5', f'labels:{tmp_path}/parts.npy:5,-2',
                 'left.png&labels:parts.npy:5']:
        assert (parse_region(spec, (6, 8)).mask == LEFT).all(), spec
    assert parse_region('lips=mask:left.png', (6, 8)).name == 'lips'
    assert (parse_region('labels:parts.npy:3&~mask:left.png', (6, 8)).mask == ~LEFT).all()
    assert (parse_region('mask:left.png&0,0,8,2', (6, 8)).mask == LEFT & (np.arange(6) < 2)[:, None]).all()


@pytest.mark.parametrize('name', ['a+b.png', 'a&b.png', 'a=b.png', '~x.png', 'a,b.png', 'a b:c.png', 'C:x.png', 'a+b'])
def test_existing_file_wins_over_operators(name, tmp_path, mask_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / 'left.png').read_bytes())
    save(Image.fromarray(np.uint8(255 * ~LEFT)), tmp_path / 'right.png')
    for other in {'a', 'b.png', 'x.png', 'c.png'} - {name}:  # what the parts of the name would be read as
        (tmp_path / other).write_bytes((tmp_path / 'right.png').read_bytes())
    for spec in [name, f'mask:{name}', f'{name}&~mask:b.png', f'mask:left.png&{name}', f'mask:{name}&0,0,8,5+{name}']:
        assert (parse_region(spec, (6, 8)).mask == LEFT).all(), spec
    assert parse_region(f'lips={name}', (6, 8)).name == 'lips'


def test_preset_wins_over_a_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mouth').write_text('not an image')
    assert (parse_region('mouth', (256, 256)).mask == preset('mouth')).all()
    with pytest.raises(RegionError, match='not an image'):
        parse_region('mask:mouth', (256, 256))


def test_home_folder(tmp_path, mask_file, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    for spec in ['~/left.png', 'mask:~/left.png', '0,0,8,5&~/left.png+~/left.png']:
        assert (parse_region(spec, (6, 8)).mask == LEFT).all()
    with pytest.raises(RegionError, match=re.escape(str(tmp_path / 'nowhere.png'))):
        parse_region('~/nowhere.png', (6, 8))
    for spec in ['~~/left.png', '~mask:~/left.png', f'~mask:{mask_file}']:
        assert (parse_region(spec, (6, 8)).mask == ~LEFT).all()


@pytest.mark.parametrize('spec, message', [
    ('', 'a region is missing'),
    ('mouth+', 'a region is missing'),
    ('&mouth', 'a region is missing'),
    ('~', 'a region is missing'),
    ('lips=', 'a region is missing'),
    ('mouht', r"^region 'mouht': 'mouht' is not a region \(did you mean 'mouth'\?\); presets: left_eye,.*box:\.\.\.,"),
    ('mouth+nise', "'nise' is not a region.*did you mean 'nose'"),
    ('qqqq', "'qqqq' is not a region; presets"),
    ('msk:face.png', r"no form of region 'msk:' \(did you mean 'mask'\?\); forms: box, center, mask, labels"),
    ('lables:face.png:1,2', "did you mean 'labels'"),
    ('1,2,3', 'four numbers x,y,width,height .*, got 3'),
    ('1,2,3,4,5', 'four numbers .*, got 5'),
    ('1,2,x,4', "'x' is not a number"),
    ('1,2,,4', "'' is not a number"),
    ('1,2,3.0,4', 'fractions of the picture lie between 0 and 1; pixels are four whole numbers'),
    ('nan,0.1,0.1,0.1', 'between 0 and 1'),
    ('0,0,inf,1', 'between 0 and 1'),
    ('0,0,' + '9' * 5000 + ',1', 'between 0 and 1'),
    ('0,0,10,0', 'must be positive'),
    ('60,0,10,10', 'outside the picture, which is 64 wide and 48 high'),
    ('box:1,2,3,4', 'must give each of x=, y=, w= and h= once'),
    ('box:x=1,y=2,w=3', 'must give each'),
    ('box:x=1,y=2,w=3,w=4', 'must give each'),
    ('box:x=1,y=2,w=3,h=4,x=1', 'must give each'),
    ('center:big', "'big' is not a number"),
    ('center:2', 'needs a fraction between 0 and 1'),
    ('mask:', 'is not there'),
    ('mask:nowhere.png', "file 'nowhere.png' is not there"),
    ('nowhere.png', "file 'nowhere.png' is not there"),
    ('C:\\masks\\nowhere.png', 'nowhere.png.* is not there'),
    ('some/where', "file 'some/where' is not there"),
    ('labels:face.png', 'must be labels:FILE:NUMBERS'),
    ('labels:face.png:' + '9' * 5000, 'must be labels:FILE:NUMBERS'),
    ('labels:face.png:a', 'must be labels:FILE:NUMBERS'),
    ('labels:face.png:1', "file 'face.png' is not there"),
    ('my lips=0,0,9,9', "name 'my lips' is not fit for a file name"),
    ('=0,0,9,9', "name '' is not fit for a file name"),
    ('0,0,9,9&20,20,9,9', r"^region '0,0,9,9&20,20,9,9': region 'box_0_0_9_9_and_box_20_20_9_9' is empty"),
    ('left_side+~left_side', 'is full'),
    ('\0', 'is not a region'),
])
def test_parse_errors(spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RegionError, match=message):
        parse_region(spec, SIZE)


def test_help_states_the_axis_order_and_every_form():
    command = click.Command('factorize', params=[click.Option(['--region'], help=REGION_HELP, metavar='SPEC')])
    shown = CliRunner().invoke(command, ['--help']).output
    forms = ['x,y,width,height', 'x from the left, y from the top', 'mask:FILE', 'labels:FILE:1,2,5', 'center:0.5']
    for text in [*forms, *PRESETS]:
        assert text in shown
    assert max(len(line) for line in shown.splitlines()) <= 100
    assert rectangle(parse_region('box:x=0.3,y=0.6,w=0.4,h=0.2', (10, 10))) == (3, 6, 4, 2)  # the help's example


@pytest.mark.parametrize('spec, size, message', [
    (None, SIZE, "the region is None, expected a text such as 'mouth'"),
    ((1, 2, 3, 4), SIZE, 'the region is .*, expected a text'),
    ('mouth', (3, 48, 64), r'image_size is \(3, 48, 64\), expected \(H, W\).*image_shape\[1:\]'),
    ('mouth', 64, 'image_size is 64, expected'),
    ('mouth', (64, None), 'expected .H, W.'),
    ('mouth', (0, 64), 'of at least 1'),
])
def test_arguments_of_other_kinds(spec, size, message):
    with pytest.raises(RegionError, match=message):
        parse_region(spec, size)
