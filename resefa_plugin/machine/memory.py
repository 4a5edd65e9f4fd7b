"""How much memory there is to work with."""

from __future__ import annotations

import os
import pathlib

import torch

CGROUP = pathlib.Path('/sys/fs/cgroup')


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
