"""Generators of BigGAN-PyTorch from their experiment folders, read as data.

The configuration is inferred from the weights and compared with what the training recorded, if there is a record. The
state is brought into one form, which does not depend on options of the training: plain weights without spectral norm,
batch statistics under one name, labels that may be mixtures. Known errors of the official code are corrected.
"""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from resefa_plugin.checkpoints.biggan_record import Record, read_record
from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.checkpoints.pickles.torch_storage import read_torch_file
from resefa_plugin.errors import CheckpointError
from resefa_plugin.networks.biggan import BOTTOM_WIDTH, BigGANConfig, Generator

# Defaults of the official train.py. Networks that were converted from TF-Hub need 1e-4 for both.
DEFAULT_BN_EPS = 1e-5
DEFAULT_SN_EPS = 1e-8
# Without a shared embedding the classes get an identity matrix as embedding, whose size is the square of their number.
MAX_TABLE_CLASSES = 10_000
STAGES = range(3, 8)  # how often the resolution doubles from 4 pixels: 32 to 512 pixels

State = dict[str, Tensor]
Network = TypeVar('Network', bound=nn.Module)


@dataclass(frozen=True)
class BigGANState:
    """A generator as data.

    Attributes:
        config: what to build.
        state: parameters and buffers of `networks.biggan.Generator(config)`. They fit the official class, too, if it is
            built without spectral norm, cross_replica and mybn.
        notes: what was assumed or corrected, one sentence each.
        path: the file of the weights.
        sha256: of that file.
    """

    config: BigGANConfig
    state: State
    notes: tuple[str, ...]
    path: Path
    sha256: str

    def build(self) -> Generator:
        """Our own network with these weights, in eval mode without gradients."""
        return load_strictly(Generator, self.state, self.path, self.config)


def read_biggan(source: str | os.PathLike, BN_eps: float | None = None, SN_eps: float | None = None) -> BigGANState:
    """Reads a generator of BigGAN-PyTorch.

    Args:
        source: an experiment folder, of which `G_ema.pth` is taken, else `G.pth`; or a file of weights, such as
            `G_ema_best0.pth`. The file `state_dict.pth` beside it, with the same suffix, is used if it is there.
        BN_eps: epsilon of the batch normalizations; None to take what the training recorded, or train.py's default.
        SN_eps: epsilon of the spectral normalizations; None as for BN_eps.

    Raises:
        CheckpointError: there are no such files, they hold no BigGAN generator, or one that cannot be reproduced.
    """
    path = find_weights(Path(source))
    file = read_source(path)
    record, notes = read_record(path)
    try:
        weights = tensors_by_name(read_torch_file(file.data))
        state = {key: value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
                 for key, value in weights.items()}
        state = plain_statistics(state, notes)
        state = bake_spectral_norm(state, _epsilon('SN_eps', SN_eps, record, DEFAULT_SN_EPS, notes))
        config = infer_config(state, _epsilon('BN_eps', BN_eps, record, DEFAULT_BN_EPS, notes))
        if record is not None:
            check_record(record, config, notes)
        state = soft_labels(state, config)
    except CheckpointError as error:
        raise CheckpointError(f'{path}: {str(error).removeprefix("<bytes>: ")}') from None
    return BigGANState(config, state, tuple(notes), path, file.sha256)


def tensors_by_name(content: object) -> State:
    """The content of a file of weights. Raises CheckpointError if it is anything else than tensors by name."""
    if isinstance(content, dict) and all(isinstance(key, str) and isinstance(value, Tensor)
                                         for key, value in content.items()):
        return content
    raise CheckpointError('expected the state of a generator, tensors by name')


def find_weights(source: Path) -> Path:
    """The file of weights in an experiment folder, or the file itself. Raises CheckpointError if there is none."""
    if not os.path.isdir(source):
        return source
    for name in ('G_ema.pth', 'G.pth'):
        if os.path.isfile(source / name):
            return source / name
    others = sorted(file.name for file in source.glob('G_*.pth') if not file.name.startswith('G_optim'))
    if others:
        raise CheckpointError(f'{source}: no G_ema.pth and no G.pth; name one of the saved copies instead of the '
                              f'folder: {", ".join(others)}')
    raise CheckpointError(f'{source}: not an experiment folder of BigGAN-PyTorch: expected G_ema.pth or G.pth in it')


def _epsilon(name: str, chosen: float | None, record: Record | None, default: float, notes: list[str]) -> float:
    recorded = (record or {}).get(name)
    value = chosen if chosen is not None else recorded if recorded is not None else default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise CheckpointError(f'{name} is {reprlib.repr(value)}; expected a number from 0 to 1')
    if chosen is None and recorded is None:
        notes.append(f'{name} is not recorded: {value:g}, the default of train.py, is assumed; conversions of TF-Hub '
                     'models need 1e-4')
    return float(value)


def plain_statistics(state: State, notes: list[str]) -> State:
    """Batch statistics of all styles as `stored_mean` and `stored_var` of the normalization.

    Training with cross_replica stores them as `bn.running_*`, and there the official code, in eval mode, adds the gain
    instead of multiplying by it (its issue 96). Training with mybn may store sums over several batches, which only
    `accumulation_counter`, their number, shows.
    """
    plain: State = {}
    renamed = standing = False
    for key, value in state.items():
        prefix, _, name = key.rpartition('.')
        owner, _, last = prefix.rpartition('.')
        if last != 'bn' or name not in ('running_mean', 'running_var', 'stored_mean', 'stored_var'):
            if name not in ('accumulation_counter', 'num_batches_tracked'):
                plain[key] = value
            continue
        count = state.get(f'{prefix}.accumulation_counter', torch.zeros(1))
        if count.numel() != 1 or not count.isfinite().all() or count < 0:
            raise CheckpointError(f'{prefix}.accumulation_counter is not a number of batches')
        if count > 0:
            value, standing = value / count.to(value.dtype), True
        renamed = renamed or name.startswith('running')
        plain[f'{owner}.{name.replace("running", "stored")}'] = value
    if renamed:
        notes.append('trained with cross_replica: the official eval mode adds gains instead of multiplying (its issue '
                     '96); here they multiply, as in training')
    if standing:
        notes.append('standing statistics: sums divided by the number of accumulated batches')
    if 'blocks.0.0.bn1.gain.weight' in plain and 'blocks.0.0.bn1.stored_mean' not in plain:
        raise CheckpointError('the blocks have no batch statistics, so norm_style was gn, ln or nonorm; of these the '
                              "official code runs nonorm only. Supported are norm_style 'bn' and 'in'")
    return plain


def bake_spectral_norm(state: State, eps: float) -> State:
    """Divides each weight by its largest singular value, as estimated by one power step from the stored `u0`."""
    baked = {key: value for key, value in state.items() if not re.search(r'\.(u|sv)\d+$', key)}
    for key, u in state.items():
        if not key.endswith('.u0'):
            continue
        name = key.removesuffix('u0') + 'weight'
        weight = baked.get(name)
        if weight is None or weight.ndim < 2 or u.shape != (1, len(weight)):
            raise CheckpointError(f'{key} does not fit a weight {name}')
        matrix = weight.double().flatten(1)
        v = functional.normalize(u.double() @ matrix, eps=eps)
        u = functional.normalize(v @ matrix.T, eps=eps)
        sigma = (v @ matrix.T @ u.T).squeeze()
        baked[name] = (weight / sigma).to(weight.dtype)
        if not baked[name].isfinite().all():
            raise CheckpointError(f'{name}: its spectral norm is {sigma.item():g}, so it cannot be divided by it: '
                                  'the file is damaged, or the training had collapsed')
    return baked


def _dims(state: State, key: str, ndim: int) -> tuple[int, ...]:
    if key not in state:
        raise CheckpointError(f'{key} is missing: not a generator of BigGAN-PyTorch')
    if state[key].ndim != ndim or 0 in state[key].shape:
        raise CheckpointError(f'{key} has shape {list(state[key].shape)}, expected {ndim} dimensions')
    return tuple(state[key].shape)


def infer_config(state: State, BN_eps: float) -> BigGANConfig:
    """The configuration that the shapes of a state imply. Raises CheckpointError if they imply none."""
    linear_out, linear_in = _dims(state, 'linear.weight', 2)
    depth, widths = _infer_blocks(state)
    per_stage, stages = max(depth, 1), len(widths) - 1
    if linear_out != widths[0] * BOTTOM_WIDTH ** 2:
        raise CheckpointError(f'linear.weight makes {linear_out} numbers; expected {widths[0]} channels of '
                              f'{BOTTOM_WIDTH}x{BOTTOM_WIDTH} pixels for the first block')
    G_shared = 'shared.weight' in state
    if depth and not G_shared:
        raise CheckpointError('shared.weight is missing: BigGAN-deep runs with G_shared only')
    gain = _dims(state, 'blocks.0.0.bn1.gain.weight', 2)
    n_classes, shared_dim = _dims(state, 'shared.weight', 2) if G_shared else (gain[0], gain[0])
    if not G_shared and n_classes > MAX_TABLE_CLASSES:
        raise CheckpointError(f'{n_classes} classes in tables of their own: expected at most {MAX_TABLE_CLASSES}; the '
                              'file is damaged or forged')
    of_z = gain[1] - shared_dim if G_shared else 0  # how many coordinates of z a block takes
    if depth:
        dim_z, first = of_z, shared_dim + of_z
    else:
        dim_z, first = (of_z * (1 + stages), of_z) if of_z else (linear_in, linear_in)
    if of_z < 0 or linear_in != first or dim_z < 1:
        raise CheckpointError(f'linear.weight takes {linear_in} numbers, which does not fit conditioning vectors of '
                              f'{gain[1]}, {shared_dim} of them for the class')
    attention = tuple(2 * BOTTOM_WIDTH << stage for stage in range(stages)
                      if f'blocks.{(stage + 1) * per_stage - 1}.1.theta.weight' in state)
    return BigGANConfig(BOTTOM_WIDTH << stages, widths, dim_z, n_classes, shared_dim, attention, hier=of_z > 0,
                        depth=depth, G_shared=G_shared, BN_eps=BN_eps)


def _infer_blocks(state: State) -> tuple[int, tuple[int, ...]]:
    """Blocks per resolution of BigGAN-deep (0 for BigGAN), and the channels before and after each resolution."""
    blocks = len({key.split('.')[1] for key in state if key.startswith('blocks.')})
    if not blocks:
        raise CheckpointError('no blocks: not a generator of BigGAN-PyTorch')
    deep = 'blocks.0.0.conv4.weight' in state
    ins = [_dims(state, f'blocks.{i}.0.conv1.weight', 4)[1] for i in range(blocks)]
    outs = [_dims(state, f'blocks.{i}.0.{"conv4" if deep else "conv2"}.weight', 4)[0] for i in range(blocks)]
    # BigGAN-deep has two blocks per resolution. The official code can run other depths only if all widths are equal,
    # which is the case at 32 pixels, where there are three resolutions.
    same_widths = len({*ins, *outs}) == 1
    depth = (max(blocks // 3, 1) if same_widths else 2) if deep else 0
    per_stage = max(depth, 1)
    stages = blocks // per_stage
    if stages not in STAGES or stages * per_stage != blocks or deep and same_widths and stages != 3:
        raise CheckpointError(f'{blocks} blocks are no known BigGAN{"-deep" * deep}: expected 3 resolutions to 7'
                              f'{" with the same number of blocks each" * deep}, for 32 to 512 pixels')
    return depth, (ins[0], *outs[per_stage - 1::per_stage])


def check_record(record: Record, config: BigGANConfig, notes: list[str]) -> None:
    """Compares what the training recorded with what the weights imply. Raises CheckpointError where they disagree."""
    def wrong(name: str, implied: object) -> CheckpointError:
        return CheckpointError(f'state_dict.pth records {name}={reprlib.repr(record[name])}, but the weights say '
                               f'{implied}: the two files are not of the same experiment')

    if record.get('norm_style', 'bn') not in ('bn', 'in'):
        raise CheckpointError(f"norm_style is {reprlib.repr(record['norm_style'])}, which the official code cannot run "
                              "or which has no statistics; supported are 'bn' and 'in'")
    if record.get('G_nl', 'relu') not in ('relu', 'inplace_relu', 'ir'):
        raise CheckpointError(f"G_nl is {reprlib.repr(record['G_nl'])}; supported are relu, inplace_relu and ir")
    slots = 1 + config.num_blocks
    implied = {'model': 'BigGANdeep' if config.depth else 'BigGAN', 'resolution': config.resolution,
               'n_classes': config.n_classes, 'G_shared': config.G_shared, 'hier': config.hier, 'G_ch': config.ch}
    if config.depth:
        implied['G_depth'] = config.depth
    for name, value in implied.items():
        if name in record and record[name] != value:
            raise wrong(name, value)
    if 'G_attn' in record:
        possible = {str(BOTTOM_WIDTH << stage) for stage in range(1, len(config.widths))}
        if possible.intersection(str(record['G_attn']).split('_')) != set(map(str, config.attention)):
            raise wrong('G_attn', config.attention or 'none')
    dim_z = record.get('dim_z', config.dim_z)
    rounded = dim_z // slots * slots if config.hier and not config.depth and isinstance(dim_z, int) else dim_z
    if rounded != config.dim_z:
        raise wrong('dim_z', config.dim_z)
    if dim_z != config.dim_z:
        notes.append(f'z has {config.dim_z} dimensions, not the recorded {dim_z}: the official code rounds down to '
                     f'{slots} equal chunks')
    if config.G_shared and 'shared_dim' in record and (record['shared_dim'] or dim_z) != config.shared_dim:
        raise wrong('shared_dim', config.shared_dim)
    z_var = record.get('z_var', 1.0)
    if z_var != 1:
        notes.append(f'trained on z of standard deviation {z_var}: truncation psi {z_var} draws such z')


def soft_labels(state: State, config: BigGANConfig) -> State:
    """The state with a shared embedding, which a generator without one lacks.

    Each of its normalizations has a table with gains by class. Transposed, a table is a linear layer that takes a
    one-hot label, or a mixture of labels; the embedding is then an identity matrix.
    """
    if config.G_shared:
        return state
    tables = re.compile(r'blocks\.\d+\.0\.bn\d\.(gain|bias)\.weight')
    soft = {key: value.T if tables.fullmatch(key) else value for key, value in state.items()}
    return soft | {'shared.weight': torch.eye(config.n_classes, dtype=state['linear.weight'].dtype)}


def load_strictly(make: Callable[..., Network], state: State, path: Path, *args: object,
                  **kwargs: object) -> Network:
    """Builds a network without memory of its own and gives it a state, in eval mode without gradients.

    Args:
        make: the class, or a function that returns the network.
        state: its parameters and buffers.
        path: of the file that the state is from, for the error.
        args, kwargs: of `make`.

    Raises CheckpointError if the state has other names or shapes than the network.
    """
    with torch.device('meta'):
        module = make(*args, **kwargs)
    own = module.state_dict()
    kinds = {key: (_kind(state.get(key)), _kind(own.get(key))) for key in {**own, **state}}
    wrong = [f'{key}: {stored} in the file, {built} in the network' for key, (stored, built) in kinds.items()
             if stored != built]
    if wrong:
        raise CheckpointError(f'{path}: {len(wrong)} tensors do not fit: {"; ".join(wrong[:3])}')
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def _kind(tensor: Tensor | None) -> str:
    if tensor is None:
        return 'nothing'
    return f'{list(tensor.shape)}{"" if tensor.is_floating_point() else f" of {tensor.dtype}"}'
