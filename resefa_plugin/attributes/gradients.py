"""The derivative of an attribute with respect to the latent, by one pass back through parser and generator."""

from __future__ import annotations

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


def attribute_gradient(viewpoint: Viewpoint, attribute: str, networks: Networks,
                       region: RegionPartition | None = None) -> Tensor:
    """The derivative `[d]` float64 of an attribute with respect to the latent, in standard deviations over faces.

    The score is a smooth function of the parser's probabilities and of colours, so that its derivative with respect to
    the picture is autograd's, and J^T takes it to the latent. Zeros where a part that is needed is not seen.

    Args:
        viewpoint: the sample, at any resolution: the parser sees 512 pixels.
        attribute: one of ATTRIBUTES.
        networks: of which `parsing` is used.
        region: to which attributes that are `cropped` are cropped; None for the whole picture.
    """
    viewpoint = seen_by_parser(viewpoint)
    picture = render_edits(viewpoint, viewpoint.zero()).requires_grad_()
    with torch.enable_grad():
        score = ATTRIBUTES[attribute].score(FaceParts(picture, networks, region)) / SCALES[attribute]
        if not (score.isfinite() and score.requires_grad):
            return torch.zeros(viewpoint.dim, dtype=torch.float64)
        (cotangent,) = torch.autograd.grad(score, picture)
    jacobian = RegionJacobian(viewpoint)
    gradient = jacobian.vjp(cotangent.nan_to_num())[0].double().cpu()
    jacobian.release()
    return gradient
