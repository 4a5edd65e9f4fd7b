"""Named edits of an atlas, with an attribute that is a linear function of the latent: what is best is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.linalg
import torch
from click.testing import CliRunner

from resefa_plugin import DirectionSet, RegionPartition, Viewpoint
from resefa_plugin.atlas import catalogue, edits_folder
from resefa_plugin.atlas.atlas import OWN_CHANNELS, atlas_folder
from resefa_plugin.atlas.builder import AtlasBuilder
from resefa_plugin.atlas.catalogue import Proposal, best_proposals, part_regions, propose, spoken, verify
from resefa_plugin.atlas.edits_folder import find_edit, known_edits, make_edits
from resefa_plugin.attributes.changes import AttributeChanges
from resefa_plugin.attributes.combination import EASED, SHARE
from resefa_plugin.attributes.face_parts import FaceParts
from resefa_plugin.attributes.scores import ATTRIBUTES, PART_OF, Attribute
from resefa_plugin.errors import ResefaError
from resefa_plugin.scripts.main import main
from tests.factorizer.test_channel_pool import BOX, CORNER, ChannelHook
from tests.helpers.faces import FACE, forged, painted
from tests.helpers.toys import TinyHook

NAMES = list(ATTRIBUTES)
LAST = 18, 35  # seeds of the last of the faces that edits are tried on, by `make_edits` and here
NOSE, SMILE = NAMES.index('nose_size'), NAMES.index('smile')


@pytest.fixture
def linear(monkeypatch):
    """Each face's nose grows by a linear function of the offset, which is returned; a smile comes with a tenth of it.

    At the last face nothing happens.
    """
    drawn = {}

    def gradient(dim):
        return drawn.setdefault(dim, 30 * torch.randn(dim, generator=torch.Generator().manual_seed(3)).double())

    def gradients(viewpoint, names, networks, region=None):
        factors = torch.tensor([{'nose_size': 1.0, 'smile': 0.1}.get(name, 0.0) for name in names])
        return factors[:, None] * gradient(viewpoint.dim)

    def changes(viewpoints, offsets, networks, strength=2.0, region=None, progress=lambda: None):
        values = torch.zeros(len(offsets), len(viewpoints), len(ATTRIBUTES), dtype=torch.float64)
        values[:, :, NOSE] = 2 * strength * (offsets.double() @ gradient(offsets.shape[1]))[:, None]
        values[:, :, SMILE] = values[:, :, NOSE] / 10
        values[:, [viewpoint.sample.seed in LAST for viewpoint in viewpoints]] = 0
        belongs = torch.zeros(len(ATTRIBUTES), dtype=torch.bool)
        belongs[[NOSE, SMILE]] = True
        progress()
        return AttributeChanges(values, strength, torch.ones(values.shape, dtype=torch.bool), belongs)

    monkeypatch.setattr(catalogue, 'attribute_changes', changes)
    monkeypatch.setattr(catalogue, 'attribute_gradients', gradients)
    monkeypatch.setattr(edits_folder, 'attribute_gradients', gradients)
    known = [ATTRIBUTES[name] for name in ('nose_size', 'smile')]
    monkeypatch.setattr(Attribute, 'belongs', lambda self, parts: self in known)
    return gradient


def proposed(atlas, viewpoints, region):
    """What is proposed, with a parser that always sees the same face."""
    whole = [catalogue.attribute_gradients(viewpoint, NAMES, None) for viewpoint in viewpoints]
    return propose(atlas, viewpoints, region, forged(FACE), whole)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    hook, folder = ChannelHook(), tmp_path_factory.mktemp('atlas')
    atlas = AtlasBuilder([Viewpoint(hook, 's', hook.sample(seed)) for seed in range(3)], folder, 180).build()
    return hook, folder, atlas


def test_a_proposal_moves_its_attribute_most_for_what_it_changes_outside(linear, made):
    hook, _, atlas = made
    viewpoints = [atlas.viewpoint(hook, sample) for sample in atlas.samples(hook, 2)]
    found = {proposal.attribute: proposal for proposal in proposed(atlas, viewpoints, BOX)}
    assert set(found) == {'nose_size', 'smile'}
    n = found['nose_size'].solved.solution.directions[0]
    known = atlas.solve(viewpoints[0], BOX, catalogue.Auto(12), channels=OWN_CHANNELS)
    A, B = known.grams.A / known.grams.background, known.grams.B / known.grams.background
    B = B + EASED * catalogue.TAU * np.eye(len(B))
    q = scipy.linalg.eigh(A, B, eigvals_only=True)[-1]
    best = np.linalg.solve(B - SHARE / q * A, known.basis @ linear(240).numpy()) @ known.basis
    assert n @ best / np.linalg.norm(best) == pytest.approx(1, abs=1e-6)
    inner = known.basis @ n
    rate = known.basis @ linear(240).numpy()
    most = np.linalg.solve(A + B, rate)  # what changes inside counts as much as what changes outside
    expected = (rate @ most) ** 2 / (most @ (known.grams.A + known.grams.B) @ most)
    assert found['nose_size'].merit == pytest.approx(expected) == pytest.approx(100 * found['smile'].merit)
    # Strength 1 changes the region by .1, root mean square; from -3 to 3 are six of that.
    inside = atlas.scale * inner @ known.grams.A @ inner / (3 * BOX.mask.sum())
    expected = 6 * 0.1 / np.sqrt(inside) * (n @ linear(240).numpy()) / ATTRIBUTES['nose_size'].least
    assert found['nose_size'].predicted == pytest.approx(expected)


def test_the_region_counts_as_little_as_is_enough(linear, made, monkeypatch):
    hook, _, atlas = made
    viewpoints = [atlas.viewpoint(hook, hook.sample(0))]
    found = []
    for counted in catalogue.COUNTED:
        with monkeypatch.context() as patch:
            patch.setattr(catalogue, 'COUNTED', (counted,))
            found += [each for each in proposed(atlas, viewpoints, BOX) if each.attribute == 'nose_size']
    predicted = [proposal.predicted for proposal in found]
    assert predicted == sorted(predicted) and predicted[-1] > 1.1 * predicted[0]

    def chosen(enough):
        monkeypatch.setattr(catalogue, 'ENOUGH', enough)
        return next(each for each in proposed(atlas, viewpoints, BOX) if each.attribute == 'nose_size')

    assert chosen(predicted[0]).predicted == predicted[0]
    assert chosen((predicted[1] + predicted[2]) / 2).predicted == predicted[2]
    last = chosen(2 * predicted[-1])
    assert last.predicted == predicted[-1] and last.merit == found[-1].merit == max(each.merit for each in found)


def test_better_regions_are_tried_first():
    proposals = [Proposal(name, region, merit, predicted) for name, region, merit, predicted in (
        ('smile', 'too little', 9.0, 0.3), ('smile', 'hardly', 9.0, 0.5), ('smile', 'good', 3.0, 1.5),
        ('nose_size', 'nose', 1.0, 0.1), ('smile', 'better', 4.0, 1.1))]
    nose, smile = best_proposals(proposals)
    assert [proposal.solved for proposal in nose] == ['nose']
    assert [proposal.solved for proposal in smile] == ['better', 'good', 'hardly']


def test_a_region_where_it_fails_leaves_the_next_one(linear, made, tmp_path, monkeypatch):
    hook, _, atlas = made
    monkeypatch.setattr(edits_folder, 'FACE_PRESETS', ['mouth', 'nose'])
    monkeypatch.setattr(edits_folder, 'parse_region', lambda name, size: {'mouth': BOX, 'nose': CORNER}[name])
    monkeypatch.setattr(edits_folder, 'part_regions', lambda faces, size: [])
    tried = []

    def verified(proposal, *others):
        tried.append((proposal.attribute, proposal.solved.region.name))
        return None if len(tried) == 1 else verify(proposal, *others)

    monkeypatch.setattr(edits_folder, 'verify', verified)
    found, = make_edits(atlas, hook, tmp_path, forged(FACE))
    (first, region), second, *others = tried
    assert first == second[0] == 'nose_size' and {region, second[1]} == {BOX.name, CORNER.name}
    assert found.directions.metadata.region == second[1]
    assert [name for name, _ in others] == ['smile', 'smile']  # neither is one


@pytest.mark.parametrize(('share', 'is_edit'), [(0.45, True), (0.55, False)])
def test_an_edit_leaves_other_parts_of_the_face_alone(linear, made, monkeypatch, share, is_edit):
    hook, _, atlas = made
    viewpoints = [atlas.viewpoint(hook, hook.sample(0))]
    faces = [atlas.viewpoint(hook, hook.sample(seed)) for seed in range(20, 36)]
    (nose,), _ = best_proposals(proposed(atlas, viewpoints, BOX))
    plain, least = catalogue.attribute_changes, [ATTRIBUTES[name].least for name in ('nose_size', 'smile')]

    def changes(*arguments):
        found = plain(*arguments)
        found.values[:, :, SMILE] = share * least[1] / least[0] * found.values[:, :, NOSE]
        return found

    monkeypatch.setattr(catalogue, 'attribute_changes', changes)
    assert (verify(nose, viewpoints, faces, None) is not None) == is_edit


def test_faces_are_tried_until_it_cannot_be_an_edit(linear, made):
    hook, _, atlas = made
    viewpoints = [atlas.viewpoint(hook, sample) for sample in atlas.samples(hook, 1)]
    faces, count = [atlas.viewpoint(hook, hook.sample(seed)) for seed in range(20, 36)], []
    (nose,), _ = best_proposals(proposed(atlas, viewpoints, BOX))
    solved = dataclasses.replace(nose.solved, solution=dataclasses.replace(
        nose.solved.solution, directions=-nose.solved.solution.directions))  # it goes the wrong way
    assert verify(dataclasses.replace(nose, solved=solved), viewpoints, faces, None, lambda: count.append(1)) is None
    assert len(count) == 7  # nine faces that are left would not be .6 of them


def test_a_region_that_holds_all_is_not_better_for_that(linear, made):
    hook, _, atlas = made
    viewpoints = [atlas.viewpoint(hook, hook.sample(0))]
    mask = np.ones((32, 32), bool)
    mask[-1] = False
    wide = RegionPartition(mask, 'most')
    merits = {region.name: {each.attribute: each.merit for each in proposed(atlas, viewpoints, region)}
              for region in (BOX, wide)}
    B = atlas.grams(wide, catalogue.Constraints())[0].B  # of a row of pixels: next to nothing
    assert np.trace(B) < 0.1 * np.trace(atlas.grams(BOX, catalogue.Constraints())[0].B)
    for attribute, merit in merits['most'].items():
        assert merit < 10 * merits[BOX.name][attribute]


def test_an_edit_that_does_something_else_is_no_edit(linear, made):
    hook, _, atlas = made
    viewpoints = [atlas.viewpoint(hook, sample) for sample in atlas.samples(hook, 2)]
    faces = [atlas.viewpoint(hook, hook.sample(seed)) for seed in range(20, 36)]
    (nose,), (smile,) = best_proposals(proposed(atlas, viewpoints, BOX))
    edit = verify(nose, viewpoints, faces, None)
    assert (edit.attribute, edit.more, edit.less) == ('nose_size', 'nose grows', 'nose shrinks')
    assert (edit.works, edit.faces, edit.stem) == (15, 16, 'nose-grows')
    assert edit.directions.labels == ('nose grows +',) and edit.directions.metadata.extra['works'] == 15
    assert edit.directions.metadata.extra['part'] == 'nose' and set(PART_OF) == set(ATTRIBUTES)
    assert verify(smile, viewpoints, faces, None) is None  # the nose changes more


def test_edits_are_found_by_name(linear, made):
    hook, folder, atlas = made
    steps = []
    found = make_edits(atlas, hook, folder, forged(FACE), steps.append)
    assert [edit.more for edit in found] == ['nose grows'] and 'trying smile' in steps
    edit, = known_edits(folder)
    assert (edit.more, edit.less) == ('nose grows', 'nose shrinks')
    for name, sign in (('nose grows', 1), (' Nose  GROWS', 1), ('nose-shrinks', -1)):
        assert find_edit(folder, name) == (edit, sign)
    with pytest.raises(ResefaError, match="did you mean 'nose grows'.*there are nose grows, nose shrinks"):
        find_edit(folder, 'nose grow')
    page = (folder / 'edits.html').read_text()
    assert 'nose shrinks &middot; nose grows' in page and '15 of 16 faces' in page and page.count('<img') == 9
    np.testing.assert_array_equal(DirectionSet.load(edit.path).directions, found[0].directions.directions)


def test_edits_found_before_are_not_mixed_with_those_of_now(linear, made, tmp_path):
    hook, _, atlas = made
    atlas.save(tmp_path)
    make_edits(atlas, hook, tmp_path, forged(FACE))
    (tmp_path / 'edits' / 'nose-grows.npz').rename(tmp_path / 'edits' / 'hat-grows.npz')
    make_edits(atlas, hook, tmp_path, forged(FACE))
    assert [edit.path.name for edit in known_edits(tmp_path)] == ['nose-grows.npz']
    atlas.save(tmp_path)  # another one in its place
    assert known_edits(tmp_path) == [] and not (tmp_path / 'edits.html').exists()


def test_no_edits_are_said(tmp_path):
    with pytest.raises(ResefaError, match='no named edits in .*resefa atlas --edits.*--network'):
        find_edit(tmp_path, 'mouth opens')


def test_parts_of_faces_are_regions():
    parts = FaceParts(painted({}), forged(FACE))
    regions = {region.name: region for region in part_regions([parts, parts], (64, 64))}
    assert 'parser_hair' in regions and 'parser_hat' not in regions
    nose = np.zeros((512, 512))
    nose[250:330, 225:275] = 1
    exact = nose.reshape(64, 8, 64, 8).mean(axis=(1, 3)) > 0.5
    assert (regions['parser_nose'].mask ^ exact).sum() <= 2 * exact.shape[0]  # its edges are blurred by a pixel
    assert all(isinstance(region, RegionPartition) for region in regions.values())


@pytest.mark.parametrize(('name', 'expected'), [('Mouth  Opens', 'mouth opens'), ('mouth-opens +', 'mouth opens'),
                                                ('', '')])
def test_names_are_looked_for_without_case(name, expected):
    assert spoken(name) == expected


def resefa(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return ' '.join(result.output.split())


def test_edits_by_name_on_the_command_line(linear, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr('resefa_plugin.scripts.atlas.Networks', lambda **options: forged(FACE))
    said = resefa('edit', '--network=tiny', '--do=nose grows', f'--outdir={tmp_path}/a', code=2)
    assert '--do: no named edits' in said
    said = resefa('atlas', '--network=tiny', '--trunc=0.7', '--seeds=0-2', '--edits')
    assert 'nose grows / nose shrinks: 15 of 16 faces' in said and 'edits.html' in said
    said = resefa('edit', '--network=tiny', '--do=nose shrinks', '--amount=1.5', '--steps=2', '--straight',
                  f'--outdir={tmp_path}/a')
    assert '--trunc=0.7' in said  # as the directions were found
    edit, _ = find_edit(atlas_folder(TinyHook()), 'nose shrinks')
    directions = DirectionSet.load(edit.path)
    with np.load(tmp_path / 'a' / 'seed0000-01.npz') as file:
        moved = file['s'][0] - directions.latent[0]
    np.testing.assert_allclose(moved, directions.offset(1, -1.5), atol=1e-5)
    both = resefa('edit', '--network=tiny', '--do=nose shrinks', '--do=nose grows', '--amount=1', '--amount=2',
                  '--amount=3', f'--outdir={tmp_path}/b', code=2)
    assert '--amount is given 3 times, --do 2 times' in both
    assert 'name an edit with --do' in resefa('edit', '--network=tiny', f'--outdir={tmp_path}/b', code=2)
