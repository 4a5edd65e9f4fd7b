"""How much memory a computation may take: shares of one budget, and never more than is there.

The budget is asked for (`--memory`) and not found out, so that a run goes the same way whatever else the machine does.
"""

from __future__ import annotations

import os
import pathlib

import torch

CGROUP = pathlib.Path('/sys/fs/cgroup')
DEFAULT_BUDGET = 3 * 10 ** 9

# Shares of the budget. They do not add up to 1, since they are never taken all at once.
COLUMNS = 0.55  # Jacobians, and what is kept beside their columns
SUMS = 0.2  # what is kept beside the columns of one Jacobian, to make its Gram matrices quick
PASS = 0.65  # a pass of tangents or pictures through a network; of what the Jacobian leaves that they are for
GRAPH = 0.3  # a graph that is kept for further backward passes
STAGE = 1 / 80  # the largest tensor of a pass by a linearization of ours, which takes about ten of its size

# A tangent's live tensors measured 12 times the widest feature map of the demo generator, 64 x 512 x 512 for a picture
# of 1024 x 1024. Official networks are alike: 32 x 1024 x 1024.
TANGENT_FLOATS = 12 * 16  # for each pixel of the picture

_budget = DEFAULT_BUDGET


def set_budget(size: int) -> None:
    """Sets what this process shall work within, in bytes: the command line does at start-up, see `--memory`."""
    global _budget
    _budget = size


def room(share: float, device: torch.device, taken: int = 0) -> int:
    """Bytes that may be taken: a share of the budget, or of what is free if that is less; on a GPU, of what is free.

    Args:
        share: of the above.
        taken: bytes of the budget that are spoken for, and are not to be shared.
    """
    free = available_bytes(device)
    return int(share * max(0, (free if device.type == 'cuda' else min(_budget, free)) - taken))


def tangents_at_once(image_shape: tuple[int, int, int], device: torch.device, taken: int = 0) -> int:
    """How many tangents go through a network at once of which only its pictures `(C, H, W)` are known; 1 at least.

    Args:
        taken: as `room` takes it: the Jacobian that they are for.
    """
    _, height, width = image_shape
    return max(1, room(PASS, device, taken) // (4 * TANGENT_FLOATS * height * width))


def available_bytes(device: torch.device) -> int:
    """Memory that can be taken on a device now: free memory of the GPU, else of the machine or its container."""
    if device.type == 'cuda':
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_machine_bytes(), _container_bytes())


def _machine_bytes() -> int:
    try:
        for line in pathlib.Path('/proc/meminfo').read_text().splitlines():
            if line.startswith('MemAvailable:'):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 2  # macOS does not say what is free
    except (AttributeError, ValueError, OSError):
        return 4 << 30  # Windows: a laptop's worth


def _container_bytes() -> int:
    try:
        limit = (CGROUP / 'memory.max').read_text().strip()
        return int(limit) - int((CGROUP / 'memory.current').read_text()) if limit != 'max' else 1 << 62
    except (OSError, ValueError):
        return 1 << 62


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed."""
    # Only the text tells: CPU allocations fail with a plain RuntimeError, of another text on each system.
    texts = ("can't allocate memory", 'not enough memory', 'out of memory')
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in texts)
