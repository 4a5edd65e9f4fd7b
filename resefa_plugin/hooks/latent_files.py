"""Latents that a projector, or `resefa edit`, has written: z, w or w+, told apart by their key and their shape.

What neither tells is refused rather than guessed: where z and w have the same number of dimensions, as in most
official networks, a single vector may be either.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resefa_plugin.checkpoints.latent_entries import BARE, UNSAID_KEYS, LatentEntry, read_entries
from resefa_plugin.errors import DirectionsError, ResefaError
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.machine.files import replacing

# Float32 rounding of a mapping network on another device, relative to its largest output.
SAME_W = 1e-3


@dataclass(frozen=True)
class FileLatent:
    """One sample of a file; `styles`, or one of the other two at least, is there.

    Attributes:
        ws: `[1, num_ws, w_dim]`, or `[1, 1, w_dim]`: one w for all layers. float32.
        z: `[1, z_dim]` float32; beside `ws`, what they were mapped from.
        styles: `[1, sum(style_dims)]` float32, of StyleSpace.
        name: of the picture, if the file has it: `of 'face.png'`.
        noise: that the file has for the layers of the network, `[..., h, w]` each.
    """

    ws: Tensor | None = None
    z: Tensor | None = None
    styles: Tensor | None = None
    name: str = ''
    noise: tuple[Tensor, ...] = ()

    def __str__(self) -> str:
        if self.styles is not None:
            what = f'styles {list(self.styles.shape)}'
        elif self.ws is not None:
            what = f'{"w" if self.ws.shape[1] == 1 else "w+"} latents {list(self.ws.shape)}'
        else:
            assert self.z is not None  # one of the three is there
            what = f'z latents {list(self.z.shape)}'
        return f'{what} {self.name}'.rstrip()


def read_latents(path: str | os.PathLike[str], hook: StyleBasedHook) -> list[FileLatent]:
    """Reads the latents in a file, as data: no code in it is executed.

    Key `w`, or one of SAID_KEYS: w+ `[N, num_ws, w_dim]` or `[num_ws, w_dim]`, w `[N, 1, w_dim]`, `[1, w_dim]` or
    `[w_dim]`. Key `z`: `[N, z_dim]` or `[z_dim]`. Key `s`: the styles of all layers, `[N, sum(style_dims)]`. A bare
    array, and one of UNSAID_KEYS, is a w+ or w if it has three axes or num_ws rows, else a w or z if only one of them
    has so many dimensions.

    Args:
        path: a file of numpy, torch.save, pickle or safetensors: see `checkpoints.latent_entries`.
        hook: the generator that they are for.

    Returns: one entry per sample.

    Raises:
        DirectionsError: a file that cannot be read, or latents that do not fit the generator or may be z or w.
        CheckpointError: a pickle or torch file that is damaged or holds more than tensors and plain containers.
    """
    try:
        return [latent for entry in read_entries(path) for latent in _latents(entry, hook)]
    except DirectionsError as error:
        named = str(error) if os.fspath(path) in str(error) else f'{path}: {error}'
        raise DirectionsError(named) from error


def write_latents(path: str | os.PathLike[str], space: LatentSpace, sample: Sample) -> None:
    """Writes a sample, where it can as the host's projected_w.npz: `w [1, num_ws, w_dim]`."""
    with torch.no_grad():
        arrays = {key: value.cpu().numpy() for key, value in space.saved(space.latent(sample), sample).items()}
    with replacing(path) as part, open(part, 'wb') as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stubs take names for flags


def _latents(entry: LatentEntry, hook: StyleBasedHook) -> list[FileLatent]:
    found: dict[str, Tensor] = {}
    for key, value in entry.arrays.items():
        if key == 'cond':
            raise DirectionsError(f"'cond' is of a BigGAN: {hook.name} takes w, z or s")
        if key == 'class':
            continue  # --class says it here
        array = _floats(key, value)
        kind = key if key in _SHAPED else _kind(key, array, hook)
        found[kind] = _SHAPED[kind](array, hook)
    if 's' in found:
        return [FileLatent(styles=each[None], name=entry.name) for each in found['s']]
    ws, z = found.get('w'), found.get('z')
    if ws is not None and z is not None and len(ws) != len(z):
        raise DirectionsError(f"'w' has {len(ws)} samples and 'z' has {len(z)}: expected as many")
    return [FileLatent(None if ws is None else ws[i:i + 1], None if z is None else z[i:i + 1], None, entry.name,
                       entry.noise)
            for i in range(len(next(iter(found.values()))))]


def _floats(key: str, value: object) -> Tensor:
    """The array as float32 tensor, if it is one of finite floating-point numbers."""
    if isinstance(value, np.ndarray) and value.dtype.kind == 'f':
        with np.errstate(over='ignore'):
            value = torch.from_numpy(value.astype(np.float32))
    if not isinstance(value, Tensor) or not value.is_floating_point():
        came = type(value).__name__
        if isinstance(value, (np.ndarray, Tensor)):
            came = f'{value.dtype} {list(value.shape)}'
        raise DirectionsError(f"'{key}' is {came}: expected floating-point latents")
    value = value.detach().float()
    if not 1 <= value.ndim <= 3 or not value.numel() or not value.isfinite().all():
        raise DirectionsError(f"'{key}' of shape {list(value.shape)} is no latent: expected finite numbers with 1 to 3 "
                              'axes')
    return value


def _kind(key: str, array: Tensor, hook: StyleBasedHook) -> str:
    dim = array.shape[-1]
    rows = [hook.num_ws, hook.w_dim] if hook.num_ws > 1 else None
    if array.ndim == 3 or list(array.shape) == rows or dim != hook.z_dim:
        return 'w'
    if dim != hook.w_dim:
        return 'z'
    raise DirectionsError(
        f"'{key}' of shape {list(array.shape)} may be a z or a w: both have {dim} dimensions in {hook.name}. Save it "
        f"under the key that says which: np.savez('latents.npz', w=array), or z=array")


def _as_ws(array: Tensor, hook: StyleBasedHook) -> Tensor:
    ws = array.reshape(1, 1, -1) if array.ndim == 1 else array[None] if array.ndim == 2 else array
    if ws.shape[1] not in (1, hook.num_ws) or ws.shape[2] != hook.w_dim:
        raise DirectionsError(f'latents of shape {list(array.shape)} do not fit {hook.name}: expected w+ '
                              f'[1, {hook.num_ws}, {hook.w_dim}] or w [1, {hook.w_dim}]')
    return ws


def _as_z(array: Tensor, hook: StyleBasedHook) -> Tensor:
    z = array[None] if array.ndim == 1 else array
    if z.ndim != 2 or z.shape[1] != hook.z_dim:
        raise DirectionsError(f'z of shape {list(array.shape)} does not fit {hook.name}: expected [1, {hook.z_dim}]')
    return z


def _as_styles(array: Tensor, hook: StyleBasedHook) -> Tensor:
    styles = array[None] if array.ndim == 1 else array
    if styles.ndim != 2 or styles.shape[1] != sum(hook.style_dims):
        raise DirectionsError(f's of shape {list(array.shape)} does not fit {hook.name}: expected '
                              f'[1, {sum(hook.style_dims)}]')
    return styles


_SHAPED = {'w': _as_ws, 'z': _as_z, 's': _as_styles}


def plain_samples(path: str | os.PathLike[str], hook: GeneratorHook, truncation_psi: float = 1.0,
                  c: Tensor | None = None) -> list[tuple[Sample, str]]:
    """The samples in a file for a generator without w, and of each a sentence that says what it was taken for.

    Args:
        path: a file as of `read_latents`, with the keys of `LatentSpace.saved`, or a bare array, which is z.
        hook: the generator that they are for.
        truncation_psi, c: as of `GeneratorHook.sample_of`.

    Raises DirectionsError for a file that cannot be read, or latents that do not fit the generator.
    """
    found: list[tuple[Sample, str]] = []
    for entry in read_entries(path):
        arrays = {'z' if key in (BARE, *UNSAID_KEYS) else key: _rows(key, value) for key, value in entry.arrays.items()}
        counts = {len(value) for value in arrays.values()}
        if len(counts) > 1:
            raise DirectionsError(f'{path}: {" and ".join(arrays)} are of different numbers of samples')
        said = ' and '.join(f'{key} latents [1, {value.shape[1]}]' for key, value in arrays.items())
        for row in range(counts.pop()):
            latents = {key: value[row:row + 1] for key, value in arrays.items()}
            try:
                sample = hook.sample_of(latents, f'proj{len(found):02d}', truncation_psi, c)
            except ResefaError as error:
                raise DirectionsError(f'{path}: {error}') from error
            found.append((sample, f'{said} {entry.name}'.rstrip() + ', taken as they are'))
    return found


def _rows(key: str, value: object) -> Tensor:
    """Latents `[N, d]` of an array with one or two axes."""
    array = _floats(key, value)
    if array.ndim == 3:
        raise DirectionsError(f"'{key}' of shape {list(array.shape)} is no latent of this generator, which has no w")
    return array[None] if array.ndim == 1 else array


def make_sample(hook: StyleBasedHook, latent: FileLatent, name: str, c: Tensor | None = None,
                truncation_psi: float = 1.0, truncation_cutoff: int | None = None, *,
                is_alone: bool = False) -> tuple[Sample, str]:
    """The sample of a latent in a file, and a sentence that says what it was taken for.

    A z is mapped with the class and the truncation. A w is taken as it is; a z beside it is kept if it maps to it.
    Noise beside it is set in the generator, for all its pictures from then on, if the sample has it for itself
    (`is_alone`), and left aside otherwise.
    """
    if latent.styles is not None:
        return Sample(name, {'s': latent.styles.to(hook.device)}, c), str(latent)
    if latent.ws is None:
        assert latent.z is not None  # one of the three is there
        sample = hook.sample_from_z(latent.z, name, truncation_psi, truncation_cutoff, c)
        return sample, f'{latent}, mapped to w with truncation {truncation_psi:g}'
    sample = dataclasses.replace(hook.sample_from_ws(latent.ws, name), c=c)
    if latent.z is None:
        return sample, f'{latent}{_noise(hook, latent, sample, is_alone)}'
    if not hook.c_dim or c is not None:
        mapped = hook.sample_from_z(latent.z, name, truncation_psi, truncation_cutoff, c)
        ws = sample.latents['ws']
        if torch.allclose(mapped.latents['ws'], ws, rtol=0, atol=SAME_W * float(ws.abs().max())):
            return (dataclasses.replace(mapped, latents={'z': mapped.latents['z'], 'ws': ws}),
                    f'{latent}, and the z that they are mapped from')
    return sample, (f'{latent}; the z beside them is left aside, as it is not mapped to them with this class and '
                    'truncation')


def _noise(hook: StyleBasedHook, latent: FileLatent, sample: Sample, is_alone: bool) -> str:
    """What is said of the noise in a file: used, or left aside, and how much that changes the picture."""
    if not latent.noise:
        return ''
    own, ws = hook.noise(), sample.latents['ws']
    try:
        hook.use_noise(latent.noise)
    except ResefaError as error:
        return f'; the noise in the file is left aside: {error}'
    if is_alone:
        return ', with the noise in the file, which all pictures of this run have'
    with torch.no_grad():
        try:
            after = hook.synthesis(ws, None)
        finally:
            hook.use_noise(own)
        difference = float((after - hook.synthesis(ws, None)).square().mean().sqrt())
    return ('; the noise in the file is left aside, as all samples here have the noise of the network: the picture is '
            f'{difference:.2g} (root mean square, of 2) away from that of the projector')
