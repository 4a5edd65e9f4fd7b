"""Every kind of file that the product reads: genuine ones, and what it does with one."""

from __future__ import annotations

import pathlib
import pickle
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageCms

from resefa_plugin.checkpoints.graphs.onnx_tensors import read_onnx_tensors
from resefa_plugin.checkpoints.graphs.openvino_ir import OpenVINOGraph
from resefa_plugin.checkpoints.graphs.tfjs_graph import read_tfjs_graph
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.exports import EXPORTS
from resefa_plugin.directions.foreign import load_directions
from resefa_plugin.errors import ResefaError
from resefa_plugin.evaluation.cell_store import read_cell, write_cell
from resefa_plugin.factorizer.gram_store import GramStore
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.latent_files import make_sample, read_latents
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.common_basis import CommonBasis
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.metrics.networks.tfjs_network import TfjsNetwork
from resefa_plugin.projection.photograph import read_photograph
from resefa_plugin.projection.projector import STATE_EVERY, Projector, Settings
from resefa_plugin.projection.tuned_network import Tuning
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams
from resefa_plugin.regions.partition import RegionPartition
from tests.checkpoints.test_legacy_tf_pickle import pickled, static_kwargs, variables
from tests.checkpoints.test_openvino_ir import DATA, XML
from tests.checkpoints.test_rosinality import forge_state
from tests.checkpoints.test_selection import forged, genforce_state, safetensors
from tests.helpers import biggan_toys, network_files
from tests.helpers.direction_sets import make_set
from tests.helpers.pickle_forge import persistent
from tests.helpers.toys import TanhToy, TinyHook
from tests.metrics.test_metric_networks import convolution, onnx_file, tfjs_file

SIZE = (32, 32)


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        make: writes genuine files into an empty folder; returns the ones that are to be damaged.
        read: does with such a file what the product does with it. Raises ResefaError to refuse it.
    """

    make: Callable[[pathlib.Path], list[pathlib.Path]]
    read: Callable[[pathlib.Path], object]


def _directions(folder: pathlib.Path) -> list[pathlib.Path]:
    make_set().save(folder / 'directions.npz')
    return [folder / 'directions.npz']


def _read_directions(path: pathlib.Path) -> None:
    directions = DirectionSet.load(path)
    text = directions.describe()
    text.encode()
    assert all(c.isprintable() or c == '\n' for c in text)
    for name, export in EXPORTS.items():
        try:
            export(directions, path.parent / 'exported' / name, 0)
        except ResefaError:
            continue


def _latents(folder: pathlib.Path) -> list[pathlib.Path]:
    ws, z = np.random.RandomState(0).randn(2, 8, 4).astype(np.float32), np.ones((1, 4), np.float32)
    np.savez(folder / 'w.npz', w=ws)
    np.savez_compressed(folder / 'z.npz', z=z)
    np.save(folder / 'w.npy', ws[:1].astype(np.float16))
    torch.save({'latent': torch.from_numpy(ws)}, folder / 'zip.pt')
    torch.save(torch.from_numpy(ws), folder / 'legacy.pt', _use_new_zipfile_serialization=False)
    torch.save({'a.png': {'latent': torch.from_numpy(ws[0]), 'noise': []}}, folder / 'projector.pt')
    np.save(folder / 'restyle.npy', np.array({'a.png': [ws[0], ws[1]]}, object))
    (folder / 'latents.safetensors').write_bytes(safetensors({'w': torch.from_numpy(ws)}))
    (folder / 'latents.pkl').write_bytes(pickle.dumps({'w': ws}))
    return sorted(folder.iterdir())


def _read_latents(path: pathlib.Path) -> None:
    hook = TinyHook()
    for latent in read_latents(path, hook)[:3]:
        sample, _ = make_sample(hook, latent, 'proj00')
        assert hook.space('w').render(sample.latents['ws'], sample).isfinite().all()


def _foreign(folder: pathlib.Path) -> list[pathlib.Path]:
    rows = np.random.RandomState(0).randn(3, 1, 4)
    np.save(folder / 'direction.npy', rows[:, 0])
    np.savez(folder / 'ganspace.npz', lat_comp=rows, lat_stdev=np.ones(3))
    torch.save({'comp': torch.from_numpy(rows), 'std': torch.ones(3)}, folder / 'components.pt')
    torch.save([torch.from_numpy(row) for row in rows], folder / 'list.pt')
    return sorted(folder.iterdir())


def _masks(folder: pathlib.Path) -> list[pathlib.Path]:
    grey = np.zeros(SIZE, np.uint8)
    grey[8:20, 4:28] = 255
    image = Image.fromarray(grey)
    for mode in ('1', 'L', 'P', 'RGB', 'RGBA', 'LA', 'I;16'):
        image.convert(mode if mode != 'I;16' else 'L').save(folder / f'{mode.replace(";", "")}.png')
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / 'I16.png')
    image.save(folder / 'L.jpg')
    image.convert('RGB').save(folder / 'RGB.webp')
    image.save(folder / 'L.gif')
    image.save(folder / 'L.tiff')
    image.save(folder / 'L.bmp')
    return sorted(folder.iterdir())


def _photographs(folder: pathlib.Path) -> list[pathlib.Path]:
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (24, 32, 3)).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    image.save(folder / 'photo.jpg', exif=exif, icc_profile=profile)
    image.convert('RGBA').save(folder / 'photo.png', icc_profile=profile)
    image.convert('CMYK').save(folder / 'cmyk.tiff')
    image.save(folder / 'photo.webp', exif=exif)
    Image.fromarray(np.arange(768, dtype=np.uint16).reshape(24, 32) * 80).save(folder / 'deep.png')
    return sorted(folder.iterdir())


def _read_photograph(path: pathlib.Path) -> None:
    photograph = read_photograph(path)
    assert photograph.rgb.shape == (*photograph.size, 3)
    photograph.save(photograph.with_pixels(photograph.pixels), path.parent / 'edited.png')


def _projector() -> Projector:
    return Projector(TinyHook(), 'w+', settings=Settings(passes=STATE_EVERY + 1))


TARGET = TinyHook().space('w').render(TinyHook().sample(1).latents['ws'], TinyHook().sample(1))


def _projection(folder: pathlib.Path) -> list[pathlib.Path]:
    _projector().project(TARGET, state=folder / 'state.npz')
    return sorted(folder.iterdir())


def _go_on_projecting(path: pathlib.Path) -> None:
    assert _projector().project(TARGET, state=path).sample.latents['ws'].isfinite().all()


def _tuned(folder: pathlib.Path) -> list[pathlib.Path]:
    difference = 0.1 * torch.randn(4, 3072, generator=torch.Generator().manual_seed(0)).half()
    Tuning({'synthesis.3.weight': difference}, 'tiny', TinyHook.sha256, 'portrait').save(folder / 'tuned.safetensors')
    return sorted(folder.iterdir())


def _use_tuned(path: pathlib.Path) -> None:
    hook = Tuning.load(path).applied(TinyHook())
    assert hook.G.synthesis[3].weight.isfinite().all()


def _of_many_dimensions() -> RegionJacobian:
    hook = TanhToy(z_dim=12, shape=(1, 16, 16)).hook()
    return RegionJacobian(Viewpoint(hook, 'z', hook.sample(0)))


def _basis(folder: pathlib.Path) -> list[pathlib.Path]:
    CommonBasis.compute(_of_many_dimensions(), path=folder)
    return sorted(folder.iterdir())


def _use_basis(path: pathlib.Path) -> None:
    basis = CommonBasis.compute(_of_many_dimensions(), path=path.parent)
    assert basis.vectors.shape[1] == 12 and basis.inner.matrix.isfinite().all()


def _labels(folder: pathlib.Path) -> list[pathlib.Path]:
    labels = np.arange(32 * 32).reshape(SIZE) % 5
    np.save(folder / 'labels.npy', labels)
    Image.fromarray(labels.astype(np.uint8)).convert('P').save(folder / 'labels.png')
    return sorted(folder.iterdir())


def _jacobian() -> RegionJacobian:
    hook = TanhToy().hook()
    return RegionJacobian(Viewpoint(hook, 'z', hook.sample(0)))


def _kept_jacobian(folder: pathlib.Path) -> list[pathlib.Path]:
    _jacobian().compute(path=folder)
    return sorted(folder.iterdir())


def _use_kept_jacobian(path: pathlib.Path) -> None:
    """Whatever was kept, what is used is right, but for what neither a hash nor two columns of six can tell."""
    matrix = _jacobian().compute(path=path.parent).matrix
    assert matrix.isfinite().all() and matrix.shape == _jacobian().compute().matrix.shape


def _grams(folder: pathlib.Path) -> list[pathlib.Path]:
    J = np.random.RandomState(0).randn(20, 6)
    paths = [folder / 'seed0000-a-0123456789abcdef.npz', folder / 'seed0000-b-0123456789abcdef.npz']
    GramStore.save(paths[0], DenseGrams(J.T @ J, 2 * J.T @ J, float(2 * np.square(J).sum())))
    GramStore.save(paths[1], FactoredGrams(J[:6], J[6:12], 1.0))
    return paths


def _cells(folder: pathlib.Path) -> list[pathlib.Path]:
    (folder / 'cell.png').write_bytes(b'pictures')
    write_cell(folder / 'cell.json', {'fingerprint': '0', 'sample': 'seed0000', 'edits': [{'inside': 0.01}],
                                      'tiles': 'cell.png'})
    return [folder / 'cell.json']


def _read_cell(path: pathlib.Path) -> None:
    assert isinstance(read_cell(path), dict)


def _render(hook: GeneratorHook) -> None:
    c = hook.class_vector('0') if hook.c_dim else None
    sample = hook.sample(0, 0.7, c=c)
    space = hook.space(hook.default_space)
    with torch.no_grad():
        pictures = space.render(space.latent(sample), sample)
    assert tuple(pictures.shape[1:]) == tuple(hook.image_shape)


def _networks(folder: pathlib.Path) -> list[pathlib.Path]:
    """Of every way in which a generator is stored."""
    G = network_files.make_generator()
    init = {**network_files.SIZES, 'synthesis_kwargs': network_files.SMALL}
    (folder / 'pti.pt').write_bytes(forged(persistent(network_files.skeleton(G.state_dict()), **init), legacy=False))
    torch.save({'state_dict': {f'module.{name}': value for name, value in G.state_dict().items()}}, folder / 'bare.pt')
    torch.save({'models': {'generator_smooth': genforce_state(G)}}, folder / 'genforce.pth')
    (folder / 'state.safetensors').write_bytes(safetensors(G.state_dict()))
    network_files.forge(folder, 'stylegan2')
    network_files.forge(folder, 'stylegan2', seed=1, c_dim=2)
    network_files.forge(folder, 'stylegan3')
    kwargs = static_kwargs()
    (folder / 'tf.pkl').write_bytes(pickled(kwargs, variables(kwargs)))
    torch.save({'g_ema': forge_state(), 'latent_avg': torch.zeros(8)}, folder / 'rosinality.pt')
    return sorted(folder.iterdir())


def _biggan(folder: pathlib.Path) -> list[pathlib.Path]:
    biggan_toys.experiment(folder)
    return sorted(folder.glob('*.pth'))


def _graphs(folder: pathlib.Path) -> list[pathlib.Path]:
    (folder / 'net.xml').write_text(XML)
    (folder / 'net.bin').write_bytes(DATA)
    return [folder / 'net.xml']


def _read_graph(path: pathlib.Path) -> None:
    graph = OpenVINOGraph(path, path.with_suffix('.bin'))
    for node in list(graph.nodes.values()):
        for ask in (graph.constant, graph.constant_input, lambda node: graph.consumer(node, 'MatMul')):
            try:
                ask(node)
            except ResefaError:
                continue


def _onnx(folder: pathlib.Path) -> list[pathlib.Path]:
    (folder / 'net.onnx').write_bytes(onnx_file('weight', np.arange(6, dtype=np.float32).reshape(2, 3)))
    return [folder / 'net.onnx']


def _tfjs(folder: pathlib.Path) -> list[pathlib.Path]:
    return [tfjs_file(folder, [convolution('Conv2D')], {'kernel': np.ones((3, 3, 2, 4), np.float32)})]


def _read_tfjs(path: pathlib.Path) -> None:
    """Only files whose hashes are pinned are run."""
    TfjsNetwork(read_tfjs_graph(path))


KINDS = {
    'directions': Kind(_directions, _read_directions),
    'latents': Kind(_latents, _read_latents),
    'foreign directions': Kind(_foreign, lambda path: load_directions(path, TinyHook())),
    'masks': Kind(_masks, lambda path: RegionPartition.from_mask(path, SIZE)),
    'photographs': Kind(_photographs, _read_photograph),
    'projections': Kind(_projection, _go_on_projecting),
    'tuned': Kind(_tuned, _use_tuned),
    'common bases': Kind(_basis, _use_basis),
    'label maps': Kind(_labels, lambda path: RegionPartition.from_labels(path, [1, 2], SIZE)),
    'kept Jacobians': Kind(_kept_jacobian, _use_kept_jacobian),
    'Gram matrices': Kind(_grams, lambda path: GramStore.load(path, 6)),
    'cells': Kind(_cells, _read_cell),
    'networks': Kind(_networks, lambda path: _render(open_network(str(path)))),
    'BigGAN folders': Kind(_biggan, lambda path: _render(open_network(f'biggan:{path.parent}'))),
    'OpenVINO graphs': Kind(_graphs, _read_graph),
    'ONNX constants': Kind(_onnx, read_onnx_tensors),
    'TensorFlow.js graphs': Kind(_tfjs, _read_tfjs),
}
