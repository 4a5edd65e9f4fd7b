"""Edit a projection: what to call at the end of a projector, once its loop has found w.

In the projector of a stylegan2-ada-pytorch or stylegan3 checkout, after the loop::

    from after_projector import edit_projection
    edit_projection(G, projected_w_steps[-1:], 'mouth', outdir)
"""

from __future__ import annotations

import pathlib

import torch

from resefa_plugin import Factorizer, Viewpoint, parse_region
from resefa_plugin.directions.exports import export_projected_w
from resefa_plugin.hooks.stylegan import OfficialStyleGANHook


def edit_projection(G: torch.nn.Module, projected_w: torch.Tensor, region: str, outdir: str) -> list[pathlib.Path]:
    """Moves the projection along the direction that changes a region most and the rest least.

    Args:
        G: the network of the projector, in eval mode.
        projected_w: `[1, num_ws, w_dim]`.
        region: a preset such as `mouth`, a box `x,y,width,height`, or the path of a mask.
        outdir: folder of the files.

    Returns: paths of `projected_w{strength}.npz`, -3 to 3, of which `--projected-w` of the host makes pictures.
    """
    hook = OfficialStyleGANHook(G, 'projected network')
    sample = hook.sample_from_ws(projected_w)
    (result,) = Factorizer([Viewpoint(hook, 'w', sample)], [parse_region(region, hook.image_shape[1:])]).run()
    paths = {strength: pathlib.Path(outdir) / f'projected_w{strength:+d}.npz' for strength in (-3, -1, 1, 3)}
    for strength, path in paths.items():
        export_projected_w(result.directions, path, strength=strength)
    return list(paths.values())
