"""Directions in the files of other tools.

None of these files says which latent space it is for, so a direction is written only where the tool that reads the
file would apply it in the space that was factorized.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.errors import DirectionsError
from resefa_plugin.machine.files import replacing


def export_resefa(directions: DirectionSet, path: str | os.PathLike[str], index: int = 1) -> None:
    """ReSeFa `.npy`: direction `index`, from 1, as `[1, w_dim]` float32. Its tools ask for the layers when editing."""
    _require_w(directions, 'resefa')
    _save_npy(path, _one(directions, index))


def export_interfacegan(directions: DirectionSet, path: str | os.PathLike[str], index: int = 1) -> None:
    """InterFaceGAN boundary `.npy`: direction `index`, from 1, as `[1, d]` float64, for its latent space Z or W."""
    if directions.metadata.space != 'z':
        _require_w(directions, 'interfacegan')
    _save_npy(path, _one(directions, index).astype(np.float64))


def export_e4e(directions: DirectionSet, path: str | os.PathLike[str], index: int = 1) -> None:
    """e4e `.pt`: direction `index`, from 1, a float32 tensor that is added to W+ latents `[N, num_ws, w_dim]`.

    `[1, w_dim]` for space w over all layers, else `[1, num_ws, w_dim]`, zero in the layers that are not edited.
    """
    metadata = directions.metadata
    direction = _one(directions, index)
    if metadata.space not in ('w', 'w+'):
        raise _wrong_space(directions, "'e4e' files are added to W+ latents")
    if metadata.space == 'w+' or metadata.layers is not None:
        direction = _spread(directions, direction)
    _save_pt(path, torch.from_numpy(direction))


def export_e4e_pca(directions: DirectionSet, path: str | os.PathLike[str], index: int | None = None) -> None:
    """GANSpace components as e4e reads them, a `.pt` dictionary of float32 tensors.

    `mean [1, w_dim]`, `comp [k, 1, w_dim]`, `std [k]`, of direction `index`, from 1, or of all. One std is strength 1;
    the mean is the sample's w, so that coordinate 0 is that sample.
    """
    _require_w(directions, 'e4e-pca')
    comp, mean, std = _components(directions, index)
    _save_pt(path, {'mean': torch.from_numpy(mean), 'comp': torch.from_numpy(comp), 'std': torch.from_numpy(std)})


def export_ganspace(directions: DirectionSet, path: str | os.PathLike[str], index: int | None = None) -> None:
    """GANSpace `.npz`, of direction `index`, from 1, or of all.

    Activations and latents are the same for a network used in W: `act_comp`, `lat_comp [k, 1, w_dim]`, `act_mean`,
    `lat_mean [1, w_dim]`, `act_stdev`, `lat_stdev [k]`. One stdev is strength 1; the mean is the sample's w.
    `var_ratio [k]` is the share of each eigenvalue in their sum, and `random_stdevs [k]`, the lengths of the random
    directions it compares with, repeats the stdevs.
    """
    _require_w(directions, 'ganspace')
    comp, mean, std = _components(directions, index)
    eigenvalues = directions.eigenvalues.clip(min=0)
    share = (eigenvalues / (eigenvalues.sum() or 1))[_rows(directions, index)].astype(np.float32)
    with replacing(path) as part, open(part, 'wb') as file:
        np.savez_compressed(
            file, act_comp=comp, act_mean=mean, act_stdev=std, lat_comp=comp, lat_mean=mean, lat_stdev=std,
            var_ratio=share, random_stdevs=std)


def export_projected_w(directions: DirectionSet, path: str | os.PathLike[str], index: int = 1,
                       strength: float = 1.0) -> None:
    """The host's projected_w.npz: the sample that was factorized, moved along direction `index`, from 1."""
    if directions.metadata.space not in ('w', 'w+'):
        raise _wrong_space(directions, "'projected-w' files hold W+ latents")
    directions.check_index(index)
    save_projected_w(path, directions.latent + _spread(directions, directions.offset(index, strength)))


def save_projected_w(path: str | os.PathLike[str], ws: torch.Tensor | NDArray[Any]) -> None:
    """Writes `ws [1, num_ws, w_dim]` as the `projected_w.npz` that the host's `--projected-w` reads: key `w`, float32.

    Raises:
        DirectionsError: another shape, or values that are not finite.
    """
    array = ws.detach().cpu().numpy() if isinstance(ws, torch.Tensor) else np.asarray(ws)
    if array.ndim != 3 or len(array) != 1 or not array.size or array.dtype.kind != 'f':
        raise DirectionsError(f'ws is {array.dtype} {list(array.shape)}, expected floating point [1, num_ws, w_dim]: '
                              'save one sample per file')
    with np.errstate(over='ignore'):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise DirectionsError('ws holds values that are NaN, infinite, or too large for float32: edit with a smaller '
                              'strength')
    with replacing(path) as part, open(part, 'wb') as file:
        np.savez(file, w=array)


# By name; all are called with (directions, path, index).
EXPORTS: dict[str, Callable[..., None]] = {
    'resefa': export_resefa,
    'interfacegan': export_interfacegan,
    'ganspace': export_ganspace,
    'e4e': export_e4e,
    'e4e-pca': export_e4e_pca,
    'projected-w': export_projected_w,
}


def _one(directions: DirectionSet, index: int) -> NDArray[np.float32]:
    """Direction `index` as `[1, d]`."""
    directions.check_index(index)
    return directions.directions[[index - 1]]


def _spread(directions: DirectionSet, offset: NDArray[np.float32]) -> NDArray[np.float32]:
    """An offset `[d]` of space w or w+ as `[1, num_ws, w_dim]`: zero in the layers that the directions leave alone."""
    metadata = directions.metadata
    layers = list(range(metadata.num_ws) if metadata.layers is None else metadata.layers)
    ws = np.zeros((1, metadata.num_ws, directions.latent.shape[2]), np.float32)
    ws[0, layers] = offset.reshape(-1, ws.shape[2])
    return ws


def _rows(directions: DirectionSet, index: int | None) -> NDArray[np.intp]:
    """The row numbers that `index` means: one, or all for None."""
    if index is None:
        return np.arange(len(directions))
    directions.check_index(index)
    return np.array([index - 1])


def _components(directions: DirectionSet, index: int | None) -> tuple[NDArray[np.float32], ...]:
    """comp `[k, 1, w_dim]`, mean `[1, w_dim]` and std `[k]` of a PCA, float32."""
    rows = _rows(directions, index)
    # The layers' w differ where truncation has a cutoff or the latent was projected; the formats have room for one.
    mean = directions.latent.mean(axis=1)
    return directions.directions[rows][:, None], mean, directions.step[rows].astype(np.float32)


def _require_w(directions: DirectionSet, export: str) -> None:
    if directions.metadata.space != 'w' or directions.metadata.layers is not None:
        raise _wrong_space(directions, f"'{export}' files are applied to w in all layers")


def _wrong_space(directions: DirectionSet, reason: str) -> DirectionsError:
    space, layers = directions.metadata.space, directions.metadata.layers
    remedies = {
        'z': "export them as 'interfacegan', whose editor takes Z",
        'w': "export them as 'e4e', a tensor with a row per layer",
        'w+': "export them as 'e4e', a tensor with a row per layer",
    }
    where = f"space '{space}'" + ('' if layers is None else f", layers {','.join(map(str, layers))}")
    return DirectionsError(f'the directions are in {where}, but {reason}: '
                           f"{remedies.get(space, 'no export holds them; edit with `resefa edit`')}")


def _save_npy(path: str | os.PathLike[str], array: NDArray[Any]) -> None:
    with replacing(path) as part, open(part, 'wb') as file:
        np.save(file, array, allow_pickle=False)


def _save_pt(path: str | os.PathLike[str], value: torch.Tensor | dict[str, torch.Tensor]) -> None:
    with replacing(path) as part, open(part, 'wb') as file:
        torch.save(value, file)
