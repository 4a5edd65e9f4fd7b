"""The house stands as docs/architecture.md says: rooms, their order, their size, and the picture of them."""

from __future__ import annotations

import importlib.util
import pathlib

import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
TEXT = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
DOZEN, LINES, LOOSE = 12, 400, 3

_spec = importlib.util.spec_from_file_location('draw_house', ROOT / 'docs' / 'draw_house.py')
house = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(house)


def write_package(root, **files):
    """A package with modules of the given text, `room__module='...'`, and empty third_party and patches."""
    for name, text in files.items():
        path = root / 'resefa_plugin' / f'{name.replace("__", "/")}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_every_room_is_named_and_imports_run_down_the_list():
    graph, rooms = house.uses(), list(house.stated(TEXT))
    assert set(rooms) == set(graph)
    up = [f'{room} uses {other}' for room in graph for other in graph[room] if rooms.index(other) < rooms.index(room)]
    assert not up


def test_imports_are_seen_wherever_they_stand(tmp_path):
    write_package(
        tmp_path, errors='', cellar__shelf='import os', attic__box='from resefa_plugin.cellar.shelf import jar',
        stairs__step='def up():\n    import resefa_plugin.attic.box\n    from resefa_plugin import cellar, errors')
    assert house.uses(tmp_path) == {'attic': {'cellar'}, 'cellar': set(), 'stairs': {'attic', 'cellar'}}


def test_a_circle_is_an_error(tmp_path):
    write_package(tmp_path, cellar__shelf='from resefa_plugin.attic.box import jar',
                  attic__box='def open():\n    from resefa_plugin.cellar import shelf')
    with pytest.raises(SystemExit, match='circle: .*(attic <- cellar|cellar <- attic)'):
        house.uses(tmp_path)


def test_the_picture_leaves_out_what_follows_and_floors_go_down():
    graph = {'roof': {'middle', 'ground'}, 'middle': {'ground'}, 'ground': set()}
    assert house.essential(graph) == {'roof': {'middle'}, 'middle': {'ground'}, 'ground': set()}
    assert house.floors(graph, ['roof', 'middle', 'ground']) == [['roof'], ['middle'], ['ground']]


def test_the_picture_is_of_today():
    with Image.open(ROOT / 'docs' / 'house.png') as picture:
        assert picture.width == 1200
        today = house.record(house.uses(), house.stated(TEXT), house.loose_modules())
        assert picture.text['Description'] == today, 'run python docs/draw_house.py'
    assert (ROOT / 'docs' / 'house.png').stat().st_size < 200_000


def test_sizes():
    files = [path for _, path in house.modules()]
    folders = {path.parent for path in files}
    full = {str(folder.relative_to(ROOT)): count for folder in folders
            if (count := len([path for path in folder.glob('*.py') if path.name != '__init__.py'])) > DOZEN}
    assert not full
    long = {str(path.relative_to(ROOT)): count for path in files
            if (count := len(path.read_text(encoding='utf-8').splitlines())) > LINES}
    assert not long
    assert len(house.loose_modules()) <= LOOSE
