"""What a session refuses, and says why."""

from __future__ import annotations

import numpy as np
import pytest

from resefa_plugin import ResefaError
from resefa_plugin.errors import DirectionsError, RegionError
from resefa_plugin.studio.work.session import MAX_REGIONS
from resefa_plugin.studio.work.sources import Source
from tests.helpers.studio_pages import BOX, make_session, ready
from tests.helpers.toys import TanhToy, TinyHook


def test_errors_of_latents(session, tmp_path):
    np.savez(tmp_path / 'w.npz', w=np.zeros((1, 8, 5), np.float32))
    with pytest.raises(DirectionsError, match=r'expected w\+ \[1, 8, 4\]'):
        session.load_file(tmp_path / 'w.npz', Source())
    function = make_session(TanhToy().hook())
    with pytest.raises(DirectionsError, match='is no latent of this generator, which has no w'):
        function.load_file(tmp_path / 'w.npz', Source())


def test_errors_of_samples(session):
    with pytest.raises(ResefaError, match='tiny is unconditional: leave the class empty'):
        session.load_seed(Source(seed=0, label='3'))
    with pytest.raises(ResefaError, match='seed is -1, expected a whole number of at least 0'):
        session.load_seed(Source(seed=-1))

    class Conditional(TinyHook):
        c_dim = 3

    with pytest.raises(ResefaError, match='tiny has classes 0 to 2: choose one'):
        make_session(Conditional())
    made = make_session(Conditional(), source=Source(seed=0, label='2'))
    assert made.state.sample.c.tolist() == [[0, 0, 1]]


def test_errors_of_regions(session):
    with pytest.raises(RegionError, match="region name '../x' is not fit for a file name"):
        session.set_region('../x', BOX)
    with pytest.raises(RegionError, match=r"region 'a' is \[8, 8\], the pictures are \[32, 32\]"):
        session.set_region('a', BOX[8:16, 4:12])
    with pytest.raises(RegionError, match="region 'a' is empty"):
        session.set_region('a', np.zeros((32, 32), bool))
    for number in range(MAX_REGIONS):
        session.set_region(f'r{number}', BOX)
    with pytest.raises(RegionError, match='there are 12 regions already: remove one first'):
        session.set_region('more', BOX)
    with pytest.raises(RegionError, match="there is no region 'eyes' to change: draw it first"):
        session.partition('eyes')
    session.set_region('r0', BOX, protect=True)
    with pytest.raises(RegionError, match="there is no region 'r0' to change"):
        session.partition('r0')
    with pytest.raises(RegionError, match="region 'r1' lies wholly within the protected r0: protect less"):
        session.partition('r1')


def test_errors_of_strengths(session):
    with pytest.raises(ResefaError, match="region 'box' has no directions yet: factorize it first"):
        session.set_strengths({('box', 0): 1.0})
    ready(session)
    with pytest.raises(DirectionsError, match='direction 10 is out of range'):
        session.set_strengths({('box', 9): 1.0})
    for value in (float('nan'), float('inf'), 21.0):
        with pytest.raises(ResefaError, match=f'strength {value} is out of range: expected -20 to 20'):
            session.set_strengths({('box', 0): value})


def test_a_resolution_that_does_not_divide_is_refused():
    with pytest.raises(ResefaError, match='resolution 5 does not divide'):
        make_session(TinyHook(), resolution=5)
