"""Network files as hooks: the generator of an official checkout that is at hand, else our own."""

from __future__ import annotations

import os

import torch

from resefa_plugin.checkpoints.generator_arguments import GeneratorArguments, build_generator, generator_arguments
from resefa_plugin.checkpoints.generator_file import GeneratorFile, read_generator
from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.stylegan import OfficialStyleGANHook, StyleGANHook
from resefa_plugin.third_party import nvlabs

UNKNOWN_SOURCE = ('the source code that the file carries for its class is none of the official versions: if pictures '
                  'look wrong, it is a fork with changes of its own')


def open_file(name: str, device: torch.device | str = 'cpu', repo: str | os.PathLike[str] | None = None,
              trust_pickle: bool = False, noise_mode: str = 'const') -> GeneratorHook:
    """The hook of a path or URL; the arguments are those of `open_network`. Raises CheckpointError, ResefaError."""
    checkouts = nvlabs.find_checkouts(repo)
    if trust_pickle:
        return _trusted(name, device, checkouts, noise_mode)
    file = read_generator(name)
    arguments = generator_arguments(file)
    # The official mapping networks have one mean of W: without --repo a file with more is for our own.
    unfit = repo is None and file.has_class_means
    checkout = None if unfit else nvlabs.choose_checkout(checkouts, file.family, arguments.writer)
    if checkout is not None:
        hook = _official(file, arguments, checkout, device, noise_mode)
    elif repo is not None:
        raise CheckpointError(f'{name} is a {file.family.name} network, which the {checkouts[0]} does not have; leave '
                              'out --repo to use our own')
    else:
        lacks = 'mean of W per class' if unfit else file.family.name
        hook = _own(file, arguments, f'the {checkouts[0]} has no {lacks}' if checkouts else 'no checkout found',
                    device, noise_mode)
    hook.notes = (*file.notes, *hook.notes)
    if file.source_sha256 and not file.known_source:
        hook.notes = (*hook.notes, UNKNOWN_SOURCE)
    return hook


def _official(file: GeneratorFile, arguments: GeneratorArguments, checkout: nvlabs.Checkout,
              device: torch.device | str, noise_mode: str) -> GeneratorHook:
    return OfficialStyleGANHook(
        checkout.build(file, arguments).to(device), file.name, noise_mode, checkout=checkout, sha256=file.sha256,
        licence=checkout.repository.licence, implementation=f'{checkout.home(file.family).module} of the {checkout}')


def _own(file: GeneratorFile, arguments: GeneratorArguments, why: str, device: torch.device | str,
         noise_mode: str) -> GeneratorHook:
    what = f'our own {file.family.name} network'
    mapping = {**arguments.mapping_kwargs, 'class_w_avg': True} if file.has_class_means else arguments.mapping_kwargs
    G = build_generator(file, lambda: file.family.network(
        **arguments.sizes, mapping_kwargs=mapping, synthesis_kwargs=arguments.synthesis_kwargs), what)
    return StyleGANHook(G.to(device), file.name, noise_mode, sha256=file.sha256, implementation=f'{what} ({why})')


def _trusted(name: str, device: torch.device | str, checkouts: list[nvlabs.Checkout],
             noise_mode: str) -> GeneratorHook:
    if not checkouts:
        raise CheckpointError('--trust-pickle needs the checkout whose loader shall read the file: work in it, or name '
                              'it with --repo')
    checkout, source = checkouts[0], read_source(name)
    return OfficialStyleGANHook(
        checkout.load_trusted(source).to(device), name, noise_mode, checkout=checkout, sha256=source.sha256,
        licence=checkout.repository.licence, implementation=f'code in the file, with the {checkout}')
