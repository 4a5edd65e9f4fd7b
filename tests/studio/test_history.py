"""Undo and redo: the steps of a session."""

from __future__ import annotations

from resefa_plugin.studio.work.history import STEPS
from resefa_plugin.studio.work.sources import Source
from tests.helpers.studio_pages import BOX, ready


def test_undo_goes_back_step_by_step(session):
    assert not session.go(-1)
    session.set_region('a', BOX)
    session.set_region('b', ~BOX)
    session.remove_region('a')
    assert list(session.state.regions) == ['b']
    assert session.go(-1) and list(session.state.regions) == ['a', 'b']
    assert session.go(-1) and list(session.state.regions) == ['a']
    assert session.go(-1) and not session.state.regions
    assert not session.go(-1)
    assert session.go(2) and list(session.state.regions) == ['a', 'b']
    assert session.go(1) and list(session.state.regions) == ['b'] and not session.go(1)
    titles = [step.title for step in session.history.steps]
    assert titles == ['Seed 0', 'a is drawn', 'b is drawn', 'a is removed']


def test_what_is_done_after_going_back_takes_the_place_of_what_was_undone(session):
    session.set_region('a', BOX)
    session.set_region('b', ~BOX)
    session.go(-1)
    session.load_seed(Source(seed=5))
    assert [step.title for step in session.history.steps] == ['Seed 0', 'a is drawn', 'Seed 5'] and not session.go(1)


def test_a_slider_that_is_dragged_back_is_no_step(session):
    ready(session)
    session.set_strengths({('box', 0): 0.2}, remember=False)
    session.set_strengths({})
    assert session.state.strengths == {} and session.history.steps[-1].title == 'Directions of box'


def test_a_step_of_sliders_says_which_and_where(session):
    ready(session)
    for strengths in ({('box', 0): 1.5}, {('box', 0): 1.5, ('box', 1): -2.0}, {}):
        session.set_strengths(strengths)
    assert [step.title for step in session.history.steps][-3:] == ['box 1: +1.5', 'box 2: -2.0', 'All sliders at zero']


def test_undo_takes_a_dragged_slider_as_one_step(session):
    ready(session)
    for value in (0.2, 0.4, 0.6):
        session.set_strengths({('box', 0): value}, remember=False)
    session.set_strengths({('box', 0): 0.6})
    assert session.go(-1) and session.state.strengths == {} and 'box' in session.state.findings


def test_undo_is_bounded(session):
    ready(session)
    for step in range(STEPS + 5):
        session.set_strengths({('box', 0): 0.1 * (step + 1)})
    assert sum(session.go(-1) for _ in range(STEPS + 5)) == STEPS
