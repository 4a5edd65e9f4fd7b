"""Attribute scores on forged parsers whose areas, places and colours are known."""

from __future__ import annotations

import math

import pytest
import torch

from resefa_plugin import RegionPartition
from resefa_plugin.attributes.face_parts import CLASSES, SIDE, FaceParts
from resefa_plugin.attributes.scales import SCALES
from resefa_plugin.attributes.scores import ATTRIBUTES, attribute_scores
from resefa_plugin.metrics.metric_networks import Networks
from tests.helpers.faces import FACE, box, forged, painted, seeing
from tests.helpers.toys import images_at

GREY = torch.zeros(1, 3, 32, 32)
DARKEST = 0.02  # added to luminances
A_PIXEL = 0.03  # the share that a row or column of pixels more or less has in the smallest of the parts


def scores(parts, image=GREY, region=None):
    """In units of their own."""
    networks = parts if hasattr(parts, 'parsing') else forged(parts)
    return {name: value.item() * SCALES[name] for name, value in attribute_scores(image, networks, region).items()}


def without(*names):
    return [part for part in FACE if CLASSES[part[0]] not in names]


def region(top, left, height, width):
    return RegionPartition(RegionPartition.from_box(left, top, width, height, (SIDE, SIDE)).mask, 'part')


def spread(pixels):
    """The standard deviation of the places of so many pixels in a row, in sides of the picture."""
    return math.sqrt((pixels ** 2 - 1) / 12) / SIDE


def test_every_attribute_has_a_scale():
    assert list(SCALES) == list(ATTRIBUTES) and all(scale > 0 for scale in SCALES.values())


def test_scores_are_areas_places_and_forms():
    result = scores(FACE)
    expected = {'eyes_open': 2 * 20 * 40 / SIDE ** 2, 'mouth_open': 20 * 100 / SIDE ** 2,
                'nose_size': 80 * 50 / SIDE ** 2, 'mouth_width': spread(100), 'brow_height': 34 / SIDE, 'lipstick': 0,
                'smile': 0, 'mouth_height': -100 / SIDE, 'glasses': 0, 'brow_slope': 0,
                'lip_fullness': 2 * 20 * 100 / SIDE ** 2 / spread(100),
                'brow_thickness': spread(12), 'nose_width': spread(50), 'nose_length': spread(80),
                'face_width': 300 / SIDE, 'chin_length': (450 - 420) / SIDE, 'head_turn': 0,
                'hair_length': (420 - 390) * (380 - 300) / SIDE ** 2, 'fringe': 0, 'hat': 0,
                'hair_volume': (400 * 380 - 320 * 300) / SIDE ** 2}
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, rel=A_PIXEL, abs=2e-3 * SCALES[name]), name


def test_what_is_added_is_seen():
    glasses = [*FACE, box('glasses', 220, 140, 40, 220)]
    assert scores(glasses)['glasses'] == pytest.approx(40 * 220 / SIDE ** 2)
    assert scores([*FACE, box('hat', 20, 60, 80, 380)])['hat'] == pytest.approx(80 * 380 / SIDE ** 2)
    assert scores([*FACE, box('hair', 120, 100, 80, 300)])['fringe'] > 0.9  # the brows and above them, to .16 of 512
    assert scores([part if part[0] != CLASSES.index('nose') else box('nose', 250, 250, 80, 50)
                   for part in FACE])['head_turn'] == pytest.approx(25 / math.sqrt(70 ** 2 + 133), rel=1e-3)


def drawn(name, curve, thickness, columns):
    """Networks that see FACE without this part, and the part as a line along a curve, a row for each column."""
    labels = torch.zeros(SIDE, SIDE, dtype=torch.long)
    for index, rows, part_columns in without(name, 'mouth', 'upper_lip', 'lower_lip'):
        labels[rows, part_columns] = index
    for column in columns:
        top = round(curve(column) - thickness / 2)
        labels[top:top + thickness, column] = CLASSES.index(name)
    return seeing(labels)


@pytest.mark.parametrize('bend', [0.004, -0.004])
def test_a_smile_is_corners_above_the_middle(bend):
    mouth = drawn('mouth', lambda x: 390 - bend * (x - 250) ** 2, 16, range(200, 300))
    assert scores(mouth)['smile'] == pytest.approx(bend * SIDE * spread(100) ** 2, rel=0.05)


@pytest.mark.parametrize('slope', [0.3, -0.2])
def test_brows_that_rise_outwards(slope):
    labels = torch.zeros(SIDE, SIDE, dtype=torch.long)
    for index, rows, columns in without('left_brow', 'right_brow'):
        labels[rows, columns] = index
    for column in range(150, 230):
        for x, height in ((column, slope * (column - 190)), (499 - column, slope * (column - 190))):
            top = round(200 + height)
            labels[top:top + 14, x] = CLASSES.index('left_brow')
    result = scores(seeing(labels))
    assert result['brow_slope'] == pytest.approx(slope, rel=0.03)
    assert result['brow_thickness'] == pytest.approx(spread(14), rel=0.03)


def test_lipstick_is_red_lips_whatever_the_light():
    skin, lips = (0.8, 0.65, 0.6), (0.9, 0.55, 0.6)
    image = painted({'skin': skin, 'upper_lip': lips, 'lower_lip': lips})
    expected = math.log(0.9 / 0.55) - math.log(0.8 / 0.65)
    light = torch.tensor([0.7, 0.9, 1.1])[:, None, None]
    for picture in (image, (image + 1) * light - 1):
        assert scores(without('hair'), picture)['lipstick'] == pytest.approx(expected, rel=1e-5)


def test_colours():
    image = painted({'hair': (0.6, 0.4, 0.2), 'skin': (0.8, 0.6, 0.5), 'nose': (0.8, 0.6, 0.5),
                     'left_brow': (0.2, 0.2, 0.2), 'right_brow': (0.2, 0.2, 0.2)})
    result = scores(FACE, image)
    skin = 0.2126 * 0.8 + 0.7152 * 0.6 + 0.0722 * 0.5
    hair = 0.2126 * 0.6 + 0.7152 * 0.4 + 0.0722 * 0.2
    expected = {'skin_lightness': math.log(skin + DARKEST), 'skin_redness': math.log(0.8 / 0.6),
                'hair_lightness': math.log(hair + DARKEST), 'hair_warmth': 0.4 / (1.2 + 0.3),
                'brow_darkness': math.log(skin + DARKEST) - math.log(0.2 + DARKEST)}
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, abs=1e-4), name


def test_dark_lids_are_shadow_and_dark_eyes_are_not():
    image = painted({})
    for left in (160, 300):
        image[:, :, 222:258, left - 8:left + 48] = -0.4  # 0.3 of the light in place of 0.5
        image[:, :, 230:250, left:left + 40] = -1
    # The cheeks begin three rows above the end of the lids.
    assert scores(FACE, image)['eye_shadow'] == pytest.approx(math.log((0.5 + DARKEST) / (0.3 + DARKEST)), abs=0.02)


def test_the_gaze_is_where_the_dark_of_the_eyes_is():
    image = painted({})
    for left in (160, 300):
        image[:, :, 230:250, left + 20:left + 40] = -1
    assert scores(FACE, image)['gaze'] == pytest.approx(10 / SIDE / spread(40), rel=1e-3)


def test_colours_are_cropped_to_the_region():
    image = painted({'skin': (0.8, 0.8, 0.8), 'nose': (0.8, 0.8, 0.8), 'hair': (0.3, 0.3, 0.3)})
    image[:, :, :256] = image[:, :, :256] / 2 - 0.5  # half the light in the upper half
    upper, lower = (scores(FACE, image, region(*part)) for part in ((0, 0, 256, SIDE), (256, 0, 256, SIDE)))
    assert lower['skin_lightness'] - upper['skin_lightness'] == pytest.approx(math.log(0.82 / 0.42), abs=0.02)
    assert lower['hair_lightness'] - upper['hair_lightness'] == pytest.approx(math.log(0.32 / 0.17), abs=0.02)
    # 20 to 256 of hair, 100 to 256 of it with 300 columns of face
    assert upper['hair_volume'] == pytest.approx((236 * 380 - 156 * 300) / (256 * SIDE), rel=0.01)


def test_a_beard_is_rough_skin_about_the_mouth():
    noise = 0.1 * torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    rough, smooth = (painted({}) + level * noise for level in (1, 0.1))
    lower = torch.arange(SIDE)[:, None] > 305
    bearded, shaved = torch.where(lower, rough, smooth), smooth
    assert scores(FACE, bearded)['beard'] - scores(FACE, shaved)['beard'] == pytest.approx(math.log(10), rel=0.05)
    assert scores(FACE, shaved)['beard'] == pytest.approx(0, abs=0.1)


def test_what_is_hidden_is_not_measured():
    blind = scores(without('left_eye', 'right_eye'))
    assert math.isnan(blind['brow_height']) and math.isnan(blind['head_turn']) and blind['eyes_open'] == 0
    fringed = scores([*FACE, box('hair', 120, 100, 100, 190)])  # over one brow, and half of the other
    assert all(math.isnan(fringed[name]) for name in ('brow_slope', 'brow_thickness', 'brow_darkness'))
    assert math.isnan(scores(without('hair'))['hair_lightness'])


@pytest.mark.parametrize('part, there, elsewhere', [
    (region(340, 180, 100, 140), {'mouth_open', 'smile', 'lipstick', 'skin_lightness', 'beard'},
     {'nose_size', 'eyes_open', 'hair_lightness', 'face_width', 'head_turn'}),
    (region(220, 150, 40, 210), {'eyes_open', 'glasses', 'skin_lightness'}, {'nose_size', 'mouth_open', 'beard'}),
    (region(0, 60, 60, 380), {'hair_lightness', 'hair_volume', 'hat'}, {'hair_length', 'skin_lightness', 'fringe'}),
    (region(100, 130, 100, 240), {'fringe', 'skin_lightness'}, {'eyes_open', 'brow_height'})])
def test_attributes_belong_to_the_region_that_they_are_in(part, there, elsewhere):
    parts = FaceParts(GREY, forged(FACE), part)
    found = {name for name, attribute in ATTRIBUTES.items() if attribute.belongs(parts)}
    assert there <= found and not elsewhere & found


def test_what_is_not_seen_belongs_nowhere():
    parts = FaceParts(GREY, forged(without('hair')), region(0, 60, 60, 380))
    assert not ATTRIBUTES['hair_lightness'].belongs(parts) and not ATTRIBUTES['hair_length'].belongs(parts)


@pytest.mark.network
def test_real_faces(demo):
    """Seed 3 laughs, seed 8 presses his lips, seed 9 wears lipstick, seed 2 wears glasses."""
    space = demo.space('w')
    with torch.no_grad():
        faces = torch.cat([images_at(space, demo.sample(seed, 0.7), torch.zeros(1, space.dim), 512)
                           for seed in (3, 8, 9, 2)])
    result = attribute_scores(faces, Networks(fetch=True))
    laughing, pressed, lipstick, glasses = range(4)
    assert result['mouth_open'][laughing] > result['mouth_open'][pressed] + 2
    assert result['mouth_width'][laughing] > result['mouth_width'][pressed] + 1
    assert result['lipstick'][lipstick] > result['lipstick'][pressed] + 1
    assert result['eyes_open'][pressed] > result['eyes_open'][glasses] + 1
