"""Open the studio in the browser."""

from __future__ import annotations

import contextlib
import os
import pathlib

import click
import torch

from resefa_plugin.atlas.atlas import atlas_folder as usual_folder
from resefa_plugin.hooks.base import MAX_SEED
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.rayleigh.solvers import NUM_DIRECTIONS
from resefa_plugin.scripts.common import options
from resefa_plugin.scripts.common.atlases import NONE, named_atlas, usual_atlas
from resefa_plugin.scripts.common.hints import HintedCommand
from resefa_plugin.scripts.common.types import FOLDER, FiniteNumber
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.page import build_page, launch_options
from resefa_plugin.studio.work.named_edits import load_edits
from resefa_plugin.studio.work.sources import Source


@click.command(cls=HintedCommand)
@options.network_options
@click.option('--seed', metavar='INT', type=click.IntRange(min=0, max=MAX_SEED), default=0, show_default=True,
              help='Sample to begin with')
@click.option('--trunc', 'truncation_psi', metavar='FLOAT', type=FiniteNumber(), default=0.7, show_default=True,
              help='Truncation psi to begin with')
@click.option('--class', 'label', metavar='CLASS', default='', help='Class to begin with, for a conditional network')
@click.option('--resolution', metavar='INT', type=click.IntRange(min=1),
              help="Longer side of the differentiated picture  [default: 256 or the picture's]")
@click.option('--num-directions', metavar='INT', type=click.IntRange(min=1, max=20), default=NUM_DIRECTIONS,
              show_default=True, help='Sliders per region')
@click.option('--jacobian-dir', metavar='DIR', type=FOLDER, help='Keep Jacobians there, and find them again')
@click.option('--atlas', 'atlas_folder', metavar='DIR|none', type=FOLDER,
              help='Show directions at once, as `resefa atlas` found them, until those of the picture are there, and '
                   'its edits by name  [default: the atlas of the network, if there is one]')
@click.option('--outdir', metavar='DIR', type=FOLDER,
              help='Also keep there what is saved  [default: only the browser gets it]')
@click.option('--suggest-labels', 'suggest', is_flag=True,
              help='Name what each direction does to an aligned face where that is clear, by a face parser that is '
                   'fetched on first use')
@click.option('--port', metavar='INT', type=click.IntRange(min=0, max=65535),
              help='Port on 127.0.0.1  [default: the first free one from 7860]')
@click.option('--share', is_flag=True,
              help='PUBLISH the page under a link of gradio.live, for a notebook on another machine')
@click.option('--allow-host', 'allow_hosts', metavar='HOST', multiple=True,
              help='Also answer to this name, as that of a proxy in front of it; may be repeated  '
                   '[default: this machine, and the link of --share]')
@click.option('--no-browser', is_flag=True, help='Only print the address')
@options.device_option
@options.memory_option
@options.user_errors
def studio(network: str | None, function: str | None, tuned: pathlib.Path | None,
           value_range: tuple[float, float] | None, noise_mode: str,
           translate: tuple[float, float] | None, rotate: float | None, repo: pathlib.Path | None,
           trust_pickle: bool,
           seed: int, truncation_psi: float, label: str, resolution: int | None, num_directions: int,
           jacobian_dir: pathlib.Path | None, atlas_folder: pathlib.Path | None, outdir: pathlib.Path | None,
           suggest: bool, port: int | None,
           share: bool, allow_hosts: tuple[str, ...], no_browser: bool, device: torch.device) -> None:
    """Open the studio in the browser: draw a region on a sample, move sliders that change it. Needs the extra 'ui'.

    It listens on this machine only (127.0.0.1), and answers to no other name: behind a proxy, say --allow-host. Ctrl-C
    ends it.

    Examples:

    \b
    resefa studio --network=mobilestylegan-ffhq

    \b
    # Jacobians are kept for the next time
    resefa studio --network=mobilestylegan-ffhq --jacobian-dir=jacobians --seed=3
    """
    serving = launch_options(allow_hosts)
    keep_large_blocks()
    hook = options.open_generator(network, function, device, repo, trust_pickle, noise_mode, value_range,
                                  translate, rotate, tuned)
    # The copied commands are to work in the folder of the downloads.
    named = str(pathlib.Path(network).resolve()) if network and os.path.exists(network) else network
    flags = [f'--network={named}' if network is not None else f'--hook={function}']
    flags += [f'--tuned={tuned.resolve()}'] if tuned else []
    flags += [f'--repo={repo.resolve()}'] if repo else []
    flags += ['--trust-pickle'] if trust_pickle else []
    flags += [f'--range={value_range[0]:g},{value_range[1]:g}'] if value_range else []
    flags += [f'--noise-mode={noise_mode}'] if noise_mode != 'const' else []
    flags += [f'--translate={translate[0]:g},{translate[1]:g}'] if translate is not None else []
    flags += [f'--rotate={rotate:g}'] if rotate is not None else []
    atlas, folder = None, atlas_folder or usual_folder(hook)
    if atlas_folder is None:
        atlas = usual_atlas(hook)
    elif str(atlas_folder) != NONE:
        atlas = named_atlas(hook, atlas_folder, {})
    edits = None if atlas is None else load_edits(folder, atlas, hook)
    session_options = {'resolution': resolution, 'num_directions': num_directions, 'jacobian_dir': jacobian_dir,
                       'source': Source(seed, truncation_psi, label=label), 'atlas': atlas, 'named': edits,
                       'networks': Networks(fetch=True, device=device) if suggest else None}
    with contextlib.closing(Studio(hook, flags, outdir=outdir, session_options=session_options)) as shared:
        page = build_page(shared)
        page.launch(server_name='127.0.0.1', server_port=port, share=share, inbrowser=not no_browser,
                    prevent_thread_lock=True, quiet=True, **serving)  # quiet: gradio's advice is not ours
        click.echo(f'The studio is open at {page.local_url} (Ctrl-C ends it)')
        page.block_thread()


if __name__ == '__main__':
    studio()
