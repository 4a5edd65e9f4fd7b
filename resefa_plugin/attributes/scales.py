"""The standard deviation of each attribute over faces of the demo generator.

They are seeds 1000 to 1063 at truncation 0.7; a face where a part is not seen is left out.
Written by `python -m benchmarks.attribute_scales --write`.
"""

from __future__ import annotations

SCALES = {
    'eyes_open': 0.00215,
    'mouth_open': 0.00287,
    'lipstick': 0.0852,
    'nose_size': 0.00175,
    'mouth_width': 0.00619,
    'brow_height': 0.00989,
    'smile': 0.00218,
    'lip_fullness': 0.0338,
    'mouth_height': 0.0111,
    'gaze': 0.212,
    'eye_shadow': 0.162,
    'glasses': 0.0163,
    'brow_slope': 0.0899,
    'brow_thickness': 0.00129,
    'brow_darkness': 0.109,
    'nose_width': 0.00204,
    'nose_length': 0.00315,
    'face_width': 0.0284,
    'chin_length': 0.0114,
    'head_turn': 0.133,
    'beard': 0.496,
    'skin_lightness': 0.144,
    'skin_redness': 0.0814,
    'hair_length': 0.0429,
    'hair_volume': 0.101,
    'hair_lightness': 0.39,
    'hair_warmth': 0.0573,
    'fringe': 0.169,
    'hat': 0.0396,
}
