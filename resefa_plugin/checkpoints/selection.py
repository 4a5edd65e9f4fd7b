"""Which part of a file is the generator: found before anything is decoded, so that the rest may be what it likes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resefa_plugin.checkpoints.families import FAMILIES
from resefa_plugin.checkpoints.pickles.contents import TENSORS, Contents
from resefa_plugin.checkpoints.pickles.inert_values import Call, shorten
from resefa_plugin.checkpoints.pickles.legacy_tf_pickle import TF_HANDLERS
from resefa_plugin.checkpoints.pickles.nvlabs_pickle import is_module
from resefa_plugin.checkpoints.pickles.plain_data import MAPPINGS
from resefa_plugin.checkpoints.states import genforce, rosinality
from resefa_plugin.errors import CheckpointError

LATENT_AVG = 'latent_avg'
MAX_LEVELS = 4  # of dictionaries within dictionaries

# Names under which people keep a generator, in the order of preference: the moving average makes the better pictures.
# A state may be below several of them: `state_dict`, then `decoder`.
_AVERAGES = ('g_ema', 'generator_ema', 'generator_smooth', 'g_smooth', 'netg_ema', 'gs', 'ema', 'ema_model',
             'params_ema')
_GENERATORS = ('g', 'generator', 'netg', 'g_synthesis', 'model', 'params', 'decoder', 'stylegan', 'net', 'gan')
_WRAPPERS = ('', 'module', 'models', 'state_dict', '_orig_mod', 'networks', 'weights', 'face_pool', 'shadow')
_OTHERS = ('d', 'discriminator', 'netd', 'd_ema', 'augment_pipe')


@dataclass(frozen=True)
class Selection:
    """The generator of a file, not decoded yet.

    Attributes:
        entry: where it is, e.g. `G_ema` or `state_dict.decoder`; `G` if the whole file is the generator.
        value: a module, or a network of TensorFlow; None if there are tensors alone.
        tensors: those of a bare state, by their names in it.
        latent_avg: the mean of w that stands beside a bare state, if there is one.
    """

    entry: str
    value: Call | None = None
    tensors: dict[str, Call] | None = None
    latent_avg: Call | None = None


def select_generator(contents: Contents) -> Selection:
    """The generator of a file. Raises CheckpointError if there is none, and says what there is instead."""
    root = contents.root
    if type(root) is tuple:  # (G, D, Gs) of TensorFlow, where Gs is the moving average of G
        root = dict(zip(('G', 'D', 'G_ema'), root, strict=False)) if len(root) == 3 else {}
    networks: dict[str, Call] = {}
    tensors: dict[str, Call] = {}
    for path, value in _parts(contents, root, '', 0):
        (tensors if value.func.name in TENSORS else networks)[path] = value
    ranked = sorted((rank, path) for path in networks if (rank := _rank(path)) is not None)
    if ranked:
        path = ranked[0][1]
        return Selection(path or 'G', networks[path])
    return _bare_state(tensors, _names(root))


def _parts(contents: Contents, value: object, path: str, level: int) -> Iterator[tuple[str, Call]]:
    """Modules, networks and tensors in dictionaries, with the keys that lead to them, joined by dots."""
    contents.decoder.budget.spend_value()
    contents.decoder.budget.spend_bytes(len(path))
    if type(value) is Call and (value.func.name in TENSORS or value.func.name in TF_HANDLERS or is_module(value)):
        yield path, value
        return
    items = value if type(value) is dict else value.pairs if type(value) is Call and value.func.name in MAPPINGS else {}
    if level < MAX_LEVELS:
        for key, item in items.items():
            if type(key) is str:
                yield from _parts(contents, item, f'{path}.{key}' if path else key, level + 1)


def _rank(path: str) -> int | None:
    """How much a path is that of a generator, less is more; None if it is that of something else."""
    parts = [part for part in path.lower().split('.') if part not in _WRAPPERS]
    if not parts:
        return len(_AVERAGES) + 1
    if any(part in _OTHERS for part in parts):
        return None
    if not all(part in _AVERAGES or part in _GENERATORS for part in parts):
        return None
    averages = [_AVERAGES.index(part) for part in parts if part in _AVERAGES]
    return min(averages) if averages else len(_AVERAGES) + 2 + min(map(_GENERATORS.index, parts))


def _bare_state(tensors: dict[str, Call], names: list[str]) -> Selection:
    marks = (*(family.mark for family in FAMILIES), rosinality.MARK, genforce.MARK, genforce.MARK3)
    prefixes = {name.removesuffix(mark) for name in tensors for mark in marks
                if name == mark or name.endswith(f'.{mark}')}
    ranked = sorted((rank, prefix) for prefix in prefixes if (rank := _rank(prefix)) is not None)
    if not ranked:
        found = ', '.join(names[:10]) or 'no entries'
        inside = ''.join(f'; a StyleGAN generator is in it under {shorten(prefix)}, as a part of something larger, '
                         'which --hook can open' for prefix in sorted(prefixes)[:1])
        raise CheckpointError('no generator: expected an entry G_ema or G with a network, a network, or the state of'
                              f' one; found {found}{inside}{_known_others(tensors)}')
    prefix = ranked[0][1]
    averages = [value for name, value in tensors.items() if name.rpartition('.')[2] == LATENT_AVG]
    state = {name.removeprefix(prefix): value for name, value in tensors.items()
             if name.startswith(prefix) and not name.endswith(LATENT_AVG)}
    return Selection(prefix.strip('.') or 'G', None, state, averages[0] if averages else None)


def _names(root: object) -> list[str]:
    if type(root) is Call and root.func.name in MAPPINGS:
        root = root.pairs
    return [shorten(key) for key in root if type(key) is str] if type(root) is dict else [shorten(root)]


# A tensor of networks that are opened in other ways -> what to say of them.
_KNOWN_OTHERS = {
    'blocks.0.0.conv1.weight': 'these are weights of BigGAN: --network=biggan:FILE',
    'generator.gen_z.weight': 'these are weights of pytorch-pretrained-biggan: --network=biggan:FOLDER',
    'GE.initial_block': 'this is a network of lucidrains/stylegan2-pytorch: open it with --hook',
    'encoder.input_layer.0.weight': 'this is an encoder without the generator that it was trained for',
}


def _known_others(tensors: dict[str, Call]) -> str:
    for mark, what in _KNOWN_OTHERS.items():
        if any(name == mark or name.endswith(f'.{mark}') for name in tensors):
            return f'. {what}'
    return ''
