"""The arguments that a network file says its generator was made with, in one form for all writers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from resefa_plugin.checkpoints.claimed_sizes import check_mapping_layers
from resefa_plugin.checkpoints.families import Home, Repository
from resefa_plugin.checkpoints.generator_file import GeneratorFile
from resefa_plugin.checkpoints.pickles.inert_values import shorten
from resefa_plugin.errors import CheckpointError
from resefa_plugin.networks.stylegan_layers import check_types

SIZES = ('z_dim', 'c_dim', 'w_dim', 'img_resolution', 'img_channels')

FORK_HINT = ('If this is a fork and you trust the file, name its checkout with --repo and add --trust-pickle: then the '
             'code in the file is executed')


@dataclass(frozen=True)
class GeneratorArguments:
    """Arguments of a generator, the same whoever wrote the file.

    Attributes:
        writer: the repository that wrote the file, as far as its arguments show: its defaults apply.
        sizes: z_dim, c_dim, w_dim, img_resolution, img_channels.
        mapping_kwargs: of the mapping network.
        synthesis_kwargs: of the synthesis network, including what repositories take for granted differently.
    """

    writer: Repository
    sizes: dict[str, int]
    mapping_kwargs: dict[str, object] = field(default_factory=dict)
    synthesis_kwargs: dict[str, object] = field(default_factory=dict)


def generator_arguments(file: GeneratorFile) -> GeneratorArguments:
    """Brings the init arguments of a file into one form, and checks those that could cost memory or time.

    Some repositories nest the arguments of the synthesis network, `synthesis_kwargs={...}`, and some do not. Where a
    file has none of them, it is taken to be of the family's first repository.

    Raises:
        CheckpointError: for a class of another name, and for arguments that are missing or contradict the state.
    """
    if file.class_name not in file.family.class_names:
        raise CheckpointError(f'{file.name}: its generator is of the class {shorten(file.class_name)}, which is not an '
                              f'official one ({", ".join(file.family.class_names)}). {FORK_HINT}')
    names = (*SIZES, 'mapping_kwargs', 'synthesis_kwargs')
    if len(file.init_args) > len(names) or set(names[:len(file.init_args)]) & set(file.init_kwargs):
        others = ', '.join(map(shorten, file.init_kwargs))
        raise CheckpointError(f'{file.name}: {len(file.init_args)} positional arguments next to {others} are none that '
                              f'a generator takes. {FORK_HINT}')
    named = {**dict(zip(names, file.init_args, strict=False)), **file.init_kwargs}
    named = {name: _plain(value) for name, value in named.items()}
    sizes: dict[str, int] = {}
    for name in SIZES:
        size = named.pop(name, None)
        if type(size) is not int or size < 0:
            raise CheckpointError(f'{file.name}: {name} is {shorten(size)}; expected a number')
        sizes[name] = size
    mapping = named.pop('mapping_kwargs', {})
    nested = named.pop('synthesis_kwargs', None)
    flat = named
    if type(mapping) is not dict or nested is not None and type(nested) is not dict:
        raise CheckpointError(f'{file.name}: mapping_kwargs and synthesis_kwargs are expected to be dictionaries')
    home = _home(file, nested is not None, flat)
    synthesis = {**home.defaults, **(nested or flat)}
    state, family = file.state_dict, file.family
    check_mapping_layers(file.name, state, mapping.get('num_layers', family.mapping_layers))
    family.check_sizes(file.name, state, sizes['img_resolution'], synthesis)
    for where, kwargs in (('mapping_kwargs', mapping), ('synthesis_kwargs', synthesis)):
        check_types(f'{file.name}: {where}', kwargs, *family.network.parts[where])
    return GeneratorArguments(home.repository, sizes, mapping, synthesis)


def _home(file: GeneratorFile, is_nested: bool, flat: Collection[str]) -> Home:
    """The official generator that takes its arguments in the way in which a file has them."""
    if not (is_nested and flat):
        for home in file.family.homes:
            if home.repository.nests_synthesis_kwargs == is_nested or not (is_nested or flat):
                return home
    arguments = ' next to '.join(filter(None, ('synthesis_kwargs' * is_nested, ', '.join(map(shorten, flat)))))
    raise CheckpointError(f'{file.name}: no official {file.family.title} generator takes {arguments}. {FORK_HINT}')


def build_generator(file: GeneratorFile, make: Callable[[], torch.nn.Module], what: str) -> torch.nn.Module:
    """Builds a generator and gives it the file's state: float32, on the CPU, in eval mode without gradients.

    It is built without memory for its tensors first: until the shapes have been compared with the state, the arguments
    are only what a file claims.

    Args:
        file: the file that is opened.
        make: calls the constructor.
        what: names the implementation in errors.

    Raises:
        CheckpointError: the constructor refuses the arguments, or names or shapes of the state are not the file's.
    """
    try:
        with torch.device('meta'), _StayMeta():
            G = make()
    except CheckpointError as error:
        raise CheckpointError(f'{file.name}: {error}') from error
    except Exception as error:  # a constructor of others may raise anything about arguments of others
        raise CheckpointError(f'{file.name}: {what} does not take its arguments: {type(error).__name__}: '
                              f'{str(error)[:200]}. {FORK_HINT}') from error
    expected = {name: list(value.shape) for name, value in G.state_dict().items()}
    found = {name: list(value.shape) for name, value in file.state_dict.items()}
    if expected != found:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        details = ', '.join(f'{shorten(name)} is {found.get(name, "absent")}, expected {expected.get(name, "absent")}'
                            for name in differing[:3])
        raise CheckpointError(f'{file.name}: its state does not fit {what} in {len(differing)} places: {details}. '
                              f'{FORK_HINT}')
    G.load_state_dict({name: value.float() for name, value in file.state_dict.items()}, strict=True, assign=True)
    return G.eval().requires_grad_(False)


class _StayMeta(TorchFunctionMode):
    """Keeps tensors that have no memory from being moved: the official constructors move filters to the CPU."""

    def __torch_function__(self, func: Callable[..., Any], types: Collection[type], args: tuple = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to and args[0].is_meta:
            kwargs.pop('device', None)
        return func(*args, **kwargs)


def _plain(value: object) -> object:
    """Without numpy's scalars, which compare and print differently from Python's."""
    if isinstance(value, np.generic):
        return value.item()
    return {str(key): _plain(item) for key, item in value.items()} if isinstance(value, dict) else value
