"""Network files as hooks: the generator of an official checkout that is at hand, else our own."""

from __future__ import annotations

import math
import os

import torch

from resefa_plugin.checkpoints.generator_arguments import GeneratorArguments, build_generator, generator_arguments
from resefa_plugin.checkpoints.generator_file import GeneratorFile, read_generator
from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.stylegan import OfficialStyleGANHook, StyleGANHook
from resefa_plugin.third_party import nvlabs

# Float32 pictures of two implementations of the same network differ by up to 1e-4.
SAME_PICTURE = 1e-3

UNKNOWN_SOURCE = ('the source code that the file carries for its class is none of the official versions: it may be of '
                  'a fork whose pictures are others. {}')
NAME_THE_FORK = ('If they look wrong, name the checkout of the code that it was made with: --repo=FOLDER; its own '
                 'networks are used then, or with --trust-pickle the code in the file')


def open_file(name: str, device: torch.device | str = 'cpu', repo: str | os.PathLike[str] | None = None,
              trust_pickle: bool = False, noise_mode: str = 'const') -> GeneratorHook:
    """The hook of a path or URL; the arguments are those of `open_network`. Raises CheckpointError, ResefaError."""
    if trust_pickle:
        return _trusted(name, device, repo, noise_mode)
    checkouts = nvlabs.find_checkouts(repo)
    file = read_generator(name)
    arguments = generator_arguments(file)
    # The official mapping networks have one mean of W: without --repo a file with more is for our own.
    unfit = repo is None and file.has_class_means
    checkout = None if unfit else nvlabs.choose_checkout(checkouts, file.family, arguments.writer)
    if checkout is not None:
        hook = _official(file, arguments, checkout, device, noise_mode)
        hook = _compared(file, arguments, checkout, hook, repo is not None)
    elif repo is not None:
        home = file.family.home_in(checkouts[0].repository)
        why = 'does not have' if home is None else f'cannot build without more files ({home.reads})'
        instead = '' if home is None else ', or add --trust-pickle to have the code in the file executed'
        raise CheckpointError(f'{name} is a {file.family.name} network, which the {checkouts[0]} {why}; leave out '
                              f'--repo to use our own{instead}')
    else:
        hook = _own(file, arguments, _why_own(file, checkouts, unfit), device, noise_mode)
        if file.source_sha256 and not file.known_source:
            hook.notes = (*hook.notes, UNKNOWN_SOURCE.format(NAME_THE_FORK))
    hook.notes = (*file.notes, *hook.notes)
    return hook


def _compared(file: GeneratorFile, arguments: GeneratorArguments, checkout: nvlabs.Checkout, hook: StyleGANHook,
              is_named: bool) -> StyleGANHook:
    """The hook of a checkout's network with notes, or our own if only that makes the pictures of the file.

    What decides are the two sources: that of the checkout, which is used, and that in the file, which is not executed.
    Where the checkout's is none of the official ones, a picture of it is compared with one of our own network, which is
    equal to the official ones.

    Args:
        is_named: whether the user chose the checkout.
    """
    source = checkout.source_sha256(file.family)
    is_official_file = not file.source_sha256 or bool(file.known_source)
    if file.family.origin_of(source):
        if not is_official_file:
            hook.notes = (*hook.notes, UNKNOWN_SOURCE.format(NAME_THE_FORK))
        return hook
    try:
        own = _own(file, arguments, f'the networks of the {checkout} are changed, and make other pictures than those '
                   'that the file was made with', hook.device, hook.noise_mode)
        difference = _picture_difference(hook, own)
    except CheckpointError:  # a fork with other layers
        return hook
    is_same_code = file.source_sha256 == source
    if difference <= SAME_PICTURE:
        if not is_official_file and not is_same_code:
            hook.notes = (*hook.notes, UNKNOWN_SOURCE.format(NAME_THE_FORK))
        return hook
    apart = f'a picture of it is up to {difference:.2g} (of 2) away from the official networks'
    if is_same_code:
        hook.notes = (*hook.notes, f'the file was made by the fork at {checkout.path}, whose own networks are used: '
                      f'{apart}')
        return hook
    if is_official_file and not is_named:
        return own
    remedy = 'leave out --repo to use our own networks' if is_official_file else NAME_THE_FORK
    hook.notes = (*hook.notes, f'the networks of the {checkout} are changed, and are not those that the file was made '
                  f'with: {apart}. If pictures look wrong, {remedy}')
    return hook


def _picture_difference(hook: StyleGANHook, other: StyleGANHook) -> float:
    """The largest difference of a pixel of the same sample of two generators."""
    c = None
    if hook.c_dim:
        c = torch.zeros(1, hook.c_dim, device=hook.device)
        c[0, 0] = 1
    with torch.no_grad():
        pictures = [each.synthesis(each.sample(0, 1.0, None, c).latents['ws'], None) for each in (hook, other)]
    if pictures[0].shape != pictures[1].shape:
        return math.inf
    return float((pictures[0] - pictures[1]).abs().max())


def _official(file: GeneratorFile, arguments: GeneratorArguments, checkout: nvlabs.Checkout,
              device: torch.device | str, noise_mode: str) -> StyleGANHook:
    return OfficialStyleGANHook(
        checkout.build(file, arguments).to(device), file.name, noise_mode, checkout=checkout, sha256=file.sha256,
        licence=checkout.repository.licence, implementation=f'{checkout.home(file.family).module} of the {checkout}')


def _why_own(file: GeneratorFile, checkouts: list[nvlabs.Checkout], unfit: bool) -> str:
    """Why none of the checkouts at hand is used, in words."""
    if not checkouts:
        return 'no checkout found'
    for checkout in checkouts:
        home = file.family.home_in(checkout.repository)
        if home is not None and home.reads:
            return f'the {checkout} needs more files: {home.reads}'
    return f'the {checkouts[0]} has no {"mean of W per class" if unfit else file.family.name}'


def _own(file: GeneratorFile, arguments: GeneratorArguments, why: str, device: torch.device | str,
         noise_mode: str) -> StyleGANHook:
    what = f'our own {file.family.name} network'
    mapping = {**arguments.mapping_kwargs, 'class_w_avg': True} if file.has_class_means else arguments.mapping_kwargs
    G = build_generator(file, lambda: file.family.network(
        **arguments.sizes, mapping_kwargs=mapping, synthesis_kwargs=arguments.synthesis_kwargs), what)
    return StyleGANHook(G.to(device), file.name, noise_mode, sha256=file.sha256, implementation=f'{what} ({why})')


def _trusted(name: str, device: torch.device | str, repo: str | os.PathLike[str] | None,
             noise_mode: str) -> GeneratorHook:
    checkout, source = nvlabs.find_loader(repo), read_source(name)
    return OfficialStyleGANHook(
        checkout.load_trusted(source).to(device), name, noise_mode, checkout=checkout, sha256=source.sha256,
        licence=checkout.repository.licence, implementation=f'code in the file, with the {checkout}')
