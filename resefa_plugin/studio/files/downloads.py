"""Files of the edit on the screen, written into a folder of the session and nowhere else.

What renders several pictures calls `breathe` before each: an exception that it raises ends the saving.
"""

from __future__ import annotations

import math
import pathlib
import re
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from resefa_plugin.errors import ResefaError
from resefa_plugin.machine.files import replacing
from resefa_plugin.regions.partition import RegionPartition
from resefa_plugin.report import pictures
from resefa_plugin.studio.files.archive import write_work
from resefa_plugin.studio.files.command_line import commands, finding_stem, line, used_regions, used_titles
from resefa_plugin.studio.work.session import Session
from resefa_plugin.studio.work.state import edit_offset

STRIP_SCALES = (-1.0, -0.5, 0.0, 0.5, 1.0)
FRAMES, FRAME_SECONDS, FRAME_SIDE = 24, 0.08, 512


def safe_path(folder: pathlib.Path, name: str) -> pathlib.Path:
    """A file in `folder`. Raises ResefaError for a name that is more than one plain file name."""
    if not re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9_-]{0,127}\.[a-z0-9]{1,5}', name):
        raise ResefaError(f"'{name}' is not a file name of the studio: expected letters, digits, '_', '-' and "
                          'an ending')
    return folder / name


def save_directions(session: Session, region: str, folder: pathlib.Path,
                    breathe: Callable[[], None] = lambda: None) -> pathlib.Path:
    """`seed0000-mouth.npz`: the directions of a region, measured. Raises ResefaError if there are none."""
    session.measure(region, breathe)
    finding = session.finding(region)
    path = safe_path(folder, f'{finding_stem(finding)}.npz')
    finding.directions.save(path)
    return path


def save_picture(session: Session, folder: pathlib.Path) -> pathlib.Path:
    """`seed0000-edited.png`, the full picture; of a photograph all of it, with its profile and EXIF."""
    state = session.state
    path = safe_path(folder, f'{state.sample.name}-edited.png')
    if state.photograph is None:
        pictures.save_png(session.render(), path)
    else:
        state.photograph.photograph.save(session.render_whole(), path)
    return path


def save_latent(session: Session, folder: pathlib.Path, edited: bool = True) -> pathlib.Path:
    """`seed0000-edited.npz`, or `original.npz`: the latent, as `resefa edit --projected-w` reads it."""
    state, space = session.state, session.space
    path = safe_path(folder, f'{state.sample.name}-edited.npz' if edited else 'original.npz')
    if edited:
        latent = space.latent(state.sample)
        with torch.no_grad():
            moved = space.move(latent, edit_offset(state, space.dim)[None].to(latent))
            arrays = space.saved(moved, state.sample)
    else:
        latents = state.sample.latents
        arrays = {kind: latents[native] for kind, native in (('w', 'ws'), ('z', 'z')) if native in latents}
    content: dict[str, Any] = {key: value.cpu().numpy() for key, value in arrays.items()}
    with replacing(path) as part, open(part, 'wb') as file:
        np.savez(file, **content)
    return path


def save_strip(session: Session, folder: pathlib.Path, breathe: Callable[[], None] = lambda: None) -> pathlib.Path:
    """`seed0000-strip.png`: the edit from its opposite to itself. Raises ResefaError if nothing is edited."""
    images = _render_scales(session, STRIP_SCALES, session.preview_resolution, breathe)
    captions = [f'{scale:+.0%}' if scale else '0' for scale in STRIP_SCALES]
    path = safe_path(folder, f'{session.state.sample.name}-strip.png')
    pictures.save_png(pictures.strip(images, captions, ', '.join(used_titles(session.state))), path)
    return path


def save_animation(session: Session, folder: pathlib.Path, breathe: Callable[[], None] = lambda: None,
                   kind: str = 'webp') -> pathlib.Path:
    """`seed0000.webp` or `.mp4`: from the original to the edit and back. Raises ResefaError if nothing is edited."""
    if kind not in _WRITERS:
        raise ResefaError(f"animation '{kind}' is not one of {', '.join(_WRITERS)}")
    half = [(1 - math.cos(math.pi * i / (FRAMES // 2))) / 2 for i in range(FRAMES // 2 + 1)]
    frames = _render_scales(session, half, _frame_resolution(session), breathe)
    path = safe_path(folder, f'{session.state.sample.name}.{kind}')
    with replacing(path) as part:
        _WRITERS[kind]([*frames, *frames[-2:0:-1]], part)
    return path


def save_all(session: Session, folder: pathlib.Path, network_flags: Sequence[str],
             breathe: Callable[[], None] = lambda: None) -> pathlib.Path:
    """`seed0000.zip`: directions, masks, picture, latents, and `commands.txt`, which makes the picture of them."""
    for name in used_regions(session.state) or list(session.state.findings):
        session.measure(name, breathe)
    state = session.state
    files = [save_picture(session, folder), save_latent(session, folder)]
    if state.source.seed is None:
        files.append(save_latent(session, folder, edited=False))
    for name in used_regions(state) or list(state.findings):
        finding = state.findings[name]
        regions = [] if finding.name else [finding.partition, *(part.region for part in finding.protect)]
        files += [save_directions(session, name, folder, breathe), *(_save_mask(region, folder) for region in regions)]
    text = safe_path(folder, 'commands.txt')
    with replacing(text) as part:
        part.write_text(commands(session, network_flags), encoding='utf-8')
    path = safe_path(folder, f'{state.sample.name}.zip')
    with replacing(path) as part, zipfile.ZipFile(part, 'w') as archive:
        for file in dict.fromkeys([*files, text]):
            archive.write(file, file.name)
        write_work(archive, session.state, session.hook, folder)
    return path


def save_line(session: Session, folder: pathlib.Path, network_flags: Sequence[str],
              breathe: Callable[[], None] = lambda: None) -> tuple[str, list[pathlib.Path]]:
    """The edit as one line for a shell, and the files that it reads; see `command_line.line`."""
    for name in used_regions(session.state):
        session.measure(name, breathe)  # the line measures, too
    it = line(session.state, network_flags)
    files = [_save_mask(mask, folder) for mask in it.masks]
    files += [save_directions(session, name, folder, breathe) for name in it.found]
    files += [save_latent(session, folder, edited=False)] if it.original else []
    return it.text, files + ([save_latent(session, folder)] if it.edited else [])


def save_work(session: Session, path: pathlib.Path, with_photograph: bool = True) -> None:
    """The session's work alone, and its steps, into a folder of its own; see `write_work`."""
    history = session.history.snapshot()
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        write_work(archive, history.now, session.hook, path.parent, with_photograph, history)


def _save_mask(region: RegionPartition, folder: pathlib.Path) -> pathlib.Path:
    path = safe_path(folder, f'{region.name}.png')
    pictures.save_png(Image.fromarray(region.mask), path)
    return path


def _render_scales(session: Session, scales: Sequence[float], resolution: int | None,
                   breathe: Callable[[], None]) -> list[Image.Image]:
    """Pictures of the edit at several scales of its strengths."""
    if not session.state.strengths:
        raise ResefaError('nothing is changed yet: move a slider')
    images = []
    for scale in scales:
        breathe()
        images.append(session.render(resolution, scale))
    return images


def _frame_resolution(session: Session) -> int | None:
    """Longer side of a frame: FRAME_SIDE if the picture is a multiple of it, else None for the full picture."""
    longer = max(session.hook.image_shape[1:])
    return FRAME_SIDE if longer > FRAME_SIDE and longer % FRAME_SIDE == 0 else None


def _write_webp(frames: Sequence[Image.Image], path: pathlib.Path) -> None:
    frames[0].save(path, 'WEBP', save_all=True, append_images=frames[1:], duration=round(1000 * FRAME_SECONDS), loop=0,
                   quality=85)


def _write_mp4(frames: Sequence[Image.Image], path: pathlib.Path) -> None:
    try:
        import imageio_ffmpeg  # an extra
    except ImportError as error:
        raise ResefaError("mp4 needs the extra 'video': pip install 'resefa_plugin[video]'; WebP does "
                          'without') from error
    # H.264 takes even sides only.
    width, height = (side - side % 2 for side in frames[0].size)
    # The package's own writer does not tell whether ffmpeg could write everything. '-f mp4': ffmpeg chooses the
    # container by the ending, which a part file does not have.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), '-y', '-loglevel', 'error', '-f', 'rawvideo', '-pix_fmt', 'rgb24',
               '-s', f'{width}x{height}', '-r', f'{1 / FRAME_SECONDS:g}', '-i', '-', '-vcodec', 'libx264',
               '-pix_fmt', 'yuv420p', '-f', 'mp4', '-movflags', '+faststart', str(path)]
    pixels = b''.join(np.asarray(frame.convert('RGB'))[:height, :width].tobytes() for frame in frames)
    done = subprocess.run(command, input=pixels, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors='replace').strip().splitlines()
        raise OSError(reason[-1] if reason else f'ffmpeg ended with status {done.returncode}')


_WRITERS = {'webp': _write_webp, 'mp4': _write_mp4}
