"""Network files as hooks: the generator of an official checkout that is at hand, else our own."""

from __future__ import annotations

import os
import pathlib

import torch

from resefa_plugin.checkpoints.generator_arguments import GeneratorArguments, build_generator, generator_arguments
from resefa_plugin.checkpoints.generator_file import GeneratorFile, read_generator
from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.checkpoints.rosinality_state import SUFFIX, read_rosinality
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.stylegan import OfficialStyleGANHook, StyleGANHook
from resefa_plugin.networks import stylegan2, stylegan3
from resefa_plugin.third_party import nvlabs


def open_file(name: str, device: torch.device | str = 'cpu', repo: str | os.PathLike | None = None,
              trust_pickle: bool = False, noise_mode: str = 'const') -> GeneratorHook:
    """The hook of a path or URL; the arguments are those of `open_network`. Raises CheckpointError, ResefaError."""
    is_torch_file = pathlib.PurePath(name).suffix == SUFFIX
    if is_torch_file and trust_pickle:
        raise CheckpointError(f'{name}: a {SUFFIX} file is only ever read as data; leave out --trust-pickle')
    checkouts = nvlabs.find_checkouts(repo)
    if trust_pickle:
        return _trusted(name, device, checkouts, noise_mode)
    file = read_rosinality(name) if is_torch_file else read_generator(name)
    arguments = generator_arguments(file)
    # The official mapping networks have one mean of W: without --repo a file with more is for our own.
    unfit = repo is None and _has_class_means(file)
    checkout = None if unfit else nvlabs.choose_checkout(checkouts, file.family, arguments.writer)
    if checkout is None:
        if repo is not None:
            raise CheckpointError(f'{name} is a {file.family} network, which the {checkouts[0]} does not have; leave '
                                  'out --repo to use our own')
        lacks = 'mean of W per class' if unfit else file.family
        why = f'the {checkouts[0]} has no {lacks}' if checkouts else 'no checkout found'
        return StyleGANHook(_own(file, arguments).to(device), name, noise_mode, sha256=file.sha256,
                            implementation=f'our own {file.family} network ({why})')
    return OfficialStyleGANHook(
        checkout.build(file, arguments).to(device), name, noise_mode, checkout=checkout, sha256=file.sha256,
        licence=nvlabs.LICENCE, implementation=f'{checkout.repository.homes[file.family]} of the {checkout}')


def _has_class_means(file: GeneratorFile) -> bool:
    """Whether it has a mean of W for each class, `[c_dim, w_dim]`, as StyleGAN-XL has."""
    w_avg = file.state_dict.get('mapping.w_avg')
    return w_avg is not None and w_avg.ndim == 2


def _own(file: GeneratorFile, arguments: GeneratorArguments) -> torch.nn.Module:
    synthesis = arguments.synthesis_kwargs
    if file.family == 'stylegan2':
        synthesis = {'synthesis_kwargs': synthesis}
    mapping = {**arguments.mapping_kwargs, 'class_w_avg': True} if _has_class_means(file) else arguments.mapping_kwargs
    make = {'stylegan2': stylegan2.Generator, 'stylegan3': stylegan3.Generator}[file.family]
    return build_generator(file, lambda: make(**arguments.sizes, mapping_kwargs=mapping, **synthesis),
                           f'our own {file.family} network')


def _trusted(name: str, device: torch.device | str, checkouts: list[nvlabs.Checkout], noise_mode: str) -> GeneratorHook:
    if not checkouts:
        raise CheckpointError('--trust-pickle needs the checkout whose loader shall read the file: work in it, or name '
                              'it with --repo')
    source = read_source(name)
    G = checkouts[0].load_trusted(source).to(device)
    return OfficialStyleGANHook(G, name, noise_mode, checkout=checkouts[0], sha256=source.sha256,
                                licence=nvlabs.LICENCE, implementation=f'code in the file, with the {checkouts[0]}')
