"""Is it still the same person? The cosine of face embeddings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from resefa_plugin.metrics.edits import Edits, PairMetric
from resefa_plugin.metrics.metric_networks import Networks, rgb
from resefa_plugin.metrics.networks.sface import SIDE

# The square of a face aligned as in FFHQ that fits the ArcFace template of 112 x 112 (eyes, nose, mouth corners) best,
# as left, top and side in parts of the picture. FFHQ has its eyes at (.377, .470) and (.623, .470), the tip of the
# nose at (.5, .615), the corners of the mouth at (.395, .737) and (.605, .737), as means of 12 faces of the demo
# generator; the least squares of scale and shift leave 1.5 of 112 pixels.
FACE_BOX = (0.1204, 0.1187, 0.7588)


class Identity(PairMetric):
    """Cosine of the SFace embeddings of original and edit: 1 for equal pictures.

    Meant for faces aligned as in FFHQ, which are cropped by a fixed box. As a measure, 12 persons of the demo
    generator: one person at truncation 0.6 and 0.5 scores 0.79 to 0.98; different persons at 0.6 at most 0.58, 95 of
    100 pairs below 0.46. The paper's figures are ArcFace's: not comparable.
    """

    keys = ('identity',)

    def __init__(self, networks: Networks):
        self._network, self._device = networks.identity, networks.device

    @override
    def __call__(self, edits: Edits) -> dict[str, Tensor]:
        cosine = functional.cosine_similarity(self.embeddings(edits.edited), self.embeddings(edits.original))
        return {'identity': cosine}

    def embeddings(self, images: Tensor) -> Tensor:
        """Unit vectors `[N, 128]` float64 of pictures `[N, C, H, W]` in [-1, 1]."""
        with torch.no_grad():
            rows = [self._network(aligned_faces(image[None]).to(self._device)).cpu() for image in images]
        return functional.normalize(torch.cat(rows).double())


def aligned_faces(images: Tensor) -> Tensor:
    """Pictures `[N, C, H, W]` in [-1, 1] -> faces `[N, 3, 112, 112]` from 0 to 255, by FACE_BOX."""
    height, width = images.shape[2:]
    left, top, side = FACE_BOX
    x, y = round(left * width), round(top * height)
    face = (rgb(images)[:, :, y:y + round(side * height), x:x + round(side * width)] + 1) * 127.5
    return functional.interpolate(face, (SIDE, SIDE), mode='bilinear', antialias=True, align_corners=False)
