"""What `resefa edit` takes from a directions file where no flag says otherwise: how the directions were found."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import click
import torch

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.metadata import DirectionMetadata
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.third_party import mobilestylegan_ffhq

_FLAGS = {'truncation_psi': '--trunc', 'truncation_cutoff': '--trunc-cutoff', 'label': '--class',
          'value_range': '--range'}


def as_found(path: pathlib.Path, directions: DirectionSet, params: dict[str, Any]) -> None:
    """Completes the parameters of the running command as the directions were found, and says what was taken.

    Network, class, truncation and range; and the seed, of a pool its first, where there is neither --seeds nor
    --projected-w.

    Raises click.UsageError where the file names a network that must be named by the user.
    """
    metadata, taken = directions.metadata, []
    if params['network'] is None and params['function'] is None:
        params['network'] = _trusted_name(metadata.network)
        taken.append(f'--network={params["network"]}')
    if params['seeds'] is None and params['projected_w'] is None and metadata.seeds:
        params['seeds'] = [metadata.seeds[0]]
        taken.append(f'--seeds={metadata.seeds[0]}')
    stated = metadata.extra.get('value_range')
    of_function = isinstance(stated, list) and len(stated) == 2 and params['function'] is not None
    found = {'truncation_psi': metadata.truncation_psi, 'truncation_cutoff': metadata.truncation_cutoff,
             'label': class_flag(metadata), 'value_range': tuple(stated or ()) if of_function else None}
    for name, value in found.items():
        asked = click.get_current_context().get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if not asked and value not in (None, params[name]):
            params[name] = value
            text = ','.join(map(str, value)) if isinstance(value, tuple) else value
            taken.append(f'{_FLAGS[name]}={text:g}' if isinstance(text, float) else f'{_FLAGS[name]}={text}')
    if taken:
        click.echo(f'as {path} says: {" ".join(taken)}', err=True)


def sample_of(directions: DirectionSet, hook: GeneratorHook) -> Sample:
    """The sample that directions were found at, by its latent in the file."""
    metadata, latent = directions.metadata, torch.from_numpy(directions.latent)
    if not isinstance(hook, StyleBasedHook):
        saved = hook.space(metadata.space, metadata.layers).saved(latent, Sample('found', {}))
        return hook.sample_of(saved, 'found', metadata.truncation_psi)
    if metadata.space == 'z':
        return hook.sample_from_z(latent, 'found', metadata.truncation_psi, metadata.truncation_cutoff)
    if metadata.space == 's':
        return Sample('found', {'s': latent.to(hook.device)})
    return hook.sample_from_ws(latent, 'found')


def class_flag(metadata: DirectionMetadata) -> str | None:
    """The class that directions were found with, as `--class` takes it; None where there is none."""
    weights = metadata.extra.get('class')
    if not isinstance(weights, dict) or not weights:
        return None
    if len(weights) == 1:
        return str(next(iter(weights)))
    return ','.join(f'{number}:{weight}' for number, weight in weights.items())


def _trusted_name(network: str) -> str:
    """The network that a file names, if it is the demo generator or a file that is there.

    Whoever made the file may have named anything: an address to fetch from, or a plugin to run. Raises
    click.UsageError for these.
    """
    if network != mobilestylegan_ffhq.NAME and not os.path.isfile(network):
        raise click.UsageError(f"name the generator with --network or --hook: the directions say '{network}', which is "
                               'not taken from a file unless it is a file that is there')
    return network
