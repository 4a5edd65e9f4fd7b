"""Generators by name, path or URL."""

from __future__ import annotations

import os
import pathlib

import torch

from resefa_plugin.checkpoints.generator_arguments import GeneratorArguments, build_generator, generator_arguments
from resefa_plugin.checkpoints.generator_file import GeneratorFile, read_generator
from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.mobile_stylegan import MobileStyleGANHook
from resefa_plugin.hooks.stylegan import OfficialStyleGANHook, StyleGANHook
from resefa_plugin.networks import stylegan2, stylegan3
from resefa_plugin.third_party import mobilestylegan_ffhq, nvlabs

ASSETS = {mobilestylegan_ffhq.NAME: MobileStyleGANHook.open}


def open_network(network: str | os.PathLike, device: torch.device | str = 'cpu', repo: str | os.PathLike | None = None,
                 trust_pickle: bool = False, noise_mode: str = 'const') -> GeneratorHook:
    """The hook of a network; its `implementation` says what computes the pictures.

    A network file is read as data. With a checkout of stylegan2-ada-pytorch or stylegan3 at hand (`repo`, the current
    folder, or a folder in its `third_party`) the checkout's generator is built from it, else our own.

    Args:
        network: the name of an asset that is fetched on first use, `mobilestylegan-ffhq`; or the path or URL of a
            network file (.pkl) of stylegan2, stylegan2-ada-pytorch or stylegan3.
        device: where it shall be.
        repo: folder of a checkout, which is then used or the reason given why it cannot be.
        trust_pickle: let the checkout's own loader read the file, which EXECUTES the code in the file.
        noise_mode: 'const' or 'none'.

    Raises:
        CheckpointError: no such network or checkout, or it cannot be read.
        ResefaError: another noise mode.
    """
    name = os.fspath(network)
    if name in ASSETS:
        if repo is not None or trust_pickle or noise_mode != 'const':
            raise CheckpointError(f'--network={name} is an asset with a network of ours: it takes no --repo, no '
                                  '--trust-pickle and no --noise-mode but const')
        return ASSETS[name](device)
    if '://' not in name and not pathlib.Path(name).exists():
        raise CheckpointError(f'--network={name}: no such network; expected a network file, its URL, or the name of an '
                              f"asset: {', '.join(sorted(ASSETS))}")
    checkouts = nvlabs.find_checkouts(repo)
    if trust_pickle:
        return _trusted(name, device, checkouts, noise_mode)
    file = read_generator(name)
    arguments = generator_arguments(file)
    checkout = nvlabs.choose_checkout(checkouts, file.family, arguments.writer)
    if checkout is None:
        if repo is not None:
            raise CheckpointError(f'{name} is a {file.family} network, which the {checkouts[0]} does not have; leave '
                                  'out --repo to use our own')
        why = f'the {checkouts[0]} has no {file.family}' if checkouts else 'no checkout found'
        return StyleGANHook(_own(file, arguments).to(device), name, noise_mode, sha256=file.sha256,
                            implementation=f'our own {file.family} network ({why})')
    return OfficialStyleGANHook(
        checkout.build(file, arguments).to(device), name, noise_mode, checkout=checkout, sha256=file.sha256,
        licence=nvlabs.LICENCE, implementation=f'{checkout.repository.homes[file.family]} of the {checkout}')


def _own(file: GeneratorFile, arguments: GeneratorArguments) -> torch.nn.Module:
    synthesis = arguments.synthesis_kwargs
    if file.family == 'stylegan2':
        synthesis = {'synthesis_kwargs': synthesis}
    make = {'stylegan2': stylegan2.Generator, 'stylegan3': stylegan3.Generator}[file.family]
    return build_generator(file, lambda: make(**arguments.sizes, mapping_kwargs=arguments.mapping_kwargs, **synthesis),
                           f'our own {file.family} network')


def _trusted(name: str, device: torch.device | str, checkouts: list[nvlabs.Checkout], noise_mode: str) -> GeneratorHook:
    if not checkouts:
        raise CheckpointError('--trust-pickle needs the checkout whose loader shall read the file: work in it, or name '
                              'it with --repo')
    source = read_source(name)
    G = checkouts[0].load_trusted(source).to(device)
    return OfficialStyleGANHook(G, name, noise_mode, checkout=checkouts[0], sha256=source.sha256, licence=nvlabs.LICENCE,
                                implementation=f'code in the file, with the {checkouts[0]}')
