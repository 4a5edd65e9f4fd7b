"""The derivatives of attributes with respect to the latent, by one pass back through parser and generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from resefa_plugin.attributes.changes import seen_by_parser
from resefa_plugin.attributes.face_parts import FaceParts
from resefa_plugin.attributes.scores import ATTRIBUTES, SCALES
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.regions.partition import RegionPartition


def attribute_gradients(viewpoint: Viewpoint, names: Sequence[str], networks: Networks,
                        region: RegionPartition | None = None) -> Tensor:
    """The derivatives `[k, d]` float64 of attributes with respect to the latent, in standard deviations over faces.

    A score is a smooth function of the parser's probabilities and of colours, so that its derivative with respect to
    the picture is autograd's, and J^T takes it to the latent. Zeros where a part that is needed is not seen.

    Args:
        viewpoint: the sample, at any resolution: the parser sees 512 pixels.
        names: k of ATTRIBUTES.
        networks: of which `parsing` is used.
        region: to which attributes that are `cropped` are cropped; None for the whole picture.
    """
    viewpoint = seen_by_parser(viewpoint)
    picture = render_edits(viewpoint, viewpoint.zero()).requires_grad_()
    cotangents = torch.zeros(len(names), *picture.shape[1:])
    with torch.enable_grad():
        parts = FaceParts(picture, networks, region)
        for cotangent, name in zip(cotangents, names, strict=True):
            score = ATTRIBUTES[name].score(parts) / SCALES[name]
            if score.isfinite() and score.requires_grad:
                (found,) = torch.autograd.grad(score, picture, retain_graph=True)
                cotangent.copy_(found[0].nan_to_num())
    jacobian = RegionJacobian(viewpoint)
    gradients = jacobian.vjp(cotangents).double().cpu()
    jacobian.release()
    return gradients
