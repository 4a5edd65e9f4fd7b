"""A session whose network has an atlas: directions at once, then those of the picture itself in its channels."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from resefa_plugin import Auto, RegionPartition, ResefaError, Viewpoint
from resefa_plugin.atlas.atlas import OWN_CHANNELS
from resefa_plugin.atlas.builder import AtlasBuilder
from resefa_plugin.studio.work import derivative
from resefa_plugin.studio.work.cache import JacobianCache
from resefa_plugin.studio.work.session import Session
from resefa_plugin.studio.work.sources import Source
from tests.factorizer.test_channel_pool import BOX as CHANNEL_BOX
from tests.factorizer.test_channel_pool import ChannelHook
from tests.helpers.studio_pages import prepare
from tests.helpers.toys import TinyHook

FLOAT32 = 1e-4  # of products of a network in float32, relative


def test_an_atlas_knows_directions_before_the_picture_is_ready(tmp_path):
    hook = TinyHook()
    atlas = AtlasBuilder([Viewpoint(hook, 's', hook.sample(seed)) for seed in range(2)], tmp_path).build()
    session = Session(hook, JacobianCache(1 << 30), num_directions=3, atlas=atlas, source=Source(seed=5))
    assert session.state.space == 's' and session.known is not None
    mask = np.zeros((32, 32), bool)
    mask[4:14, 4:14] = True
    session.set_region('box', mask)
    finding = session.factorize('box', quick=True)
    solved = atlas.solve(session.viewpoint(), RegionPartition(mask, 'box'), Auto(3))
    np.testing.assert_allclose(finding.directions.directions, solved.solution.directions[:3], atol=1e-6)
    assert finding.quick and finding.sample is session.state.sample
    session.set_strengths({('box', 0): 2.0})
    assert session.render() != session.render(scale=0.0)
    session.measure('box')
    with pytest.raises(ResefaError, match='not computed yet'):
        session.factorize('box')
    prepare(session)
    own = session.factorize('box')  # of the picture itself
    assert not own.quick and not np.allclose(own.directions.directions, finding.directions.directions, atol=1e-3)
    session.set_space('w')
    assert session.known is None


def test_with_an_atlas_its_channels_serve_the_picture_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(derivative, 'whole', lambda dim: False)
    hook = ChannelHook()
    atlas = AtlasBuilder([Viewpoint(hook, 's', hook.sample(seed)) for seed in range(2)], tmp_path, 180).build()
    session = Session(hook, JacobianCache(1 << 30), num_directions=3, atlas=atlas, source=Source(seed=5))
    session.set_region('box', CHANNEL_BOX.mask)
    seen = []
    prepare(session, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (180, 180)  # products; a basis of its own would take 1,024
    own = session.factorize('box')
    rows = atlas.rows(CHANNEL_BOX, OWN_CHANNELS)
    channels = np.flatnonzero(atlas.vectors[rows].any(axis=0))
    assert len(channels) == OWN_CHANNELS and not own.quick
    J = hook.jacobian(session.state.sample)[..., channels]
    A, B = (np.einsum('cpd,cpe->de', J[:, part], J[:, part]) for part in (CHANNEL_BOX.mask, ~CHANNEL_BOX.mask))
    values = scipy.linalg.eigh(A, B + 1e-3 * np.trace(B) * np.eye(OWN_CHANNELS), eigvals_only=True)
    np.testing.assert_allclose(own.directions.eigenvalues, values[::-1][:3], rtol=FLOAT32)
    assert set(np.flatnonzero(own.directions.directions.any(axis=0))) <= set(channels)
    session.set_strengths({('box', 0): 1.0})
    session.set_keep(True)
    session.keep_background()
    assert set(np.flatnonzero(session.state.bend)) <= set(np.flatnonzero(atlas.vectors.any(axis=0)))
