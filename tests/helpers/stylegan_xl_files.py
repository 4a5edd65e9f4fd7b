"""StyleGAN-XL: small generators, and network files in the shape of the official ones."""

from __future__ import annotations

import pathlib
from collections import OrderedDict

import torch

from resefa_plugin.networks.stylegan3.xl import Generator
from tests.helpers.network_files import skeleton
from tests.helpers.network_oracles import randomize
from tests.helpers.pickle_forge import RECONSTRUCT, SOURCE, Name, New, Reduce, dumps

SIZES = dict(z_dim=6, w_dim=8, img_channels=3)
STEM = dict(channel_base=128, channel_max=8, num_layers=6, margin_size=4, conv_kernel=3, use_radial_filters=False)
STEM_RESOLUTION = 16
EMBEDDINGS = (5, 7)
STAGES = [[32, 5], [64, 6]]  # resolution and layers
EMBEDDING = Name('torch.nn.modules.sparse', 'Embedding')


def make_xl(stages: list[list[int]] = STAGES, c_dim: int = 3, **synthesis: object) -> torch.nn.Module:
    """A generator of ours with random weights, float64."""
    torch.manual_seed(0)
    resolution = stages[-1][0] if stages else STEM_RESOLUTION
    G = Generator(**SIZES, c_dim=c_dim, img_resolution=resolution, mapping_kwargs=dict(embeddings=EMBEDDINGS),
                  synthesis_kwargs=dict(STEM, heads=stages, stem_resolution=STEM_RESOLUTION, **synthesis))
    with torch.no_grad():
        G.synthesis.input.affine.weight.normal_(std=0.3)  # fresh networks do not rotate
        G.mapping.w_avg.normal_()
    return randomize(G)


def records(G: torch.nn.Module) -> dict[str, dict]:
    """Keyword arguments that an official file has for its submodules: those that are read."""
    layers = G.synthesis.style_names[1:]
    found = {'mapping': dict(z_dim=G.z_dim, c_dim=G.c_dim, w_dim=G.w_dim, num_ws=8, rand_embedding=False,
                             num_layers=2),
             'synthesis': dict(STEM, w_dim=G.w_dim, img_resolution=STEM_RESOLUTION, img_channels=G.img_channels,
                               num_fp16_res=0)}
    cutoffs = [2.0, *(band.cutoff for band in G.synthesis.targets)]
    for name, before, after in zip(layers, cutoffs, cutoffs[1:], strict=False):
        found[f'synthesis.{name}'] = dict(in_cutoff=before, out_cutoff=after)
    return found


def network(G: torch.nn.Module, class_name: str, init_kwargs: dict, submodules: dict[str, dict],
            **attributes: object) -> Reduce:
    """The persistent object of a generator; its embedding is of torch's class."""
    def saved(module: torch.nn.Module, name: str) -> object:
        state = {**vars(module), '_modules': OrderedDict(
            (child, saved(part, f'{name}.{child}'.lstrip('.'))) for child, part in module._modules.items())}
        if name == 'mapping.embed':
            return New(EMBEDDING, state=state)
        state |= dict(_init_args=(), _init_kwargs=submodules.get(name, {}))
        if not name:
            state |= dict(attributes, _init_kwargs=init_kwargs)
        return Reduce(RECONSTRUCT, dict(type='class', version=6, module_src=SOURCE, state=state,
                                        class_name=class_name if not name else type(module).__name__))
    return saved(skeleton(G.state_dict()), '')


def forge_xl(folder: pathlib.Path, stages: list[list[int]] = STAGES, c_dim: int = 3,
             **changes: object) -> tuple[pathlib.Path, torch.nn.Module]:
    """A network file and the generator in it, float32. `changes` are made to the submodules' keyword arguments."""
    G = make_xl(stages, c_dim).float()
    attributes = dict(SIZES, c_dim=c_dim, img_resolution=G.img_resolution)
    if stages:
        init = dict(c_dim=c_dim, img_resolution=G.img_resolution, img_channels=3, up_factor=2,
                    path_stem='/somewhere/best_model.pkl', head_layers=stages[-1][1])
        saved = network(G, 'SuperresGenerator', init, {**records(G), **changes}, **attributes)
    else:
        init = dict(attributes, **STEM, mapping_kwargs=dict(rand_embedding=False, num_layers=2))
        saved = network(G, 'Generator', init, {}, **attributes)
    path = folder / f'xl-{len(stages)}-{c_dim}.pkl'
    path.write_bytes(dumps({'G_ema': saved}))
    return path, G
