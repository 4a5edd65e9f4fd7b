from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.helpers.regions import LEFT, save


@pytest.fixture
def mask_file(tmp_path):
    return save(Image.fromarray(np.uint8(255 * LEFT)), tmp_path / 'left.png')
