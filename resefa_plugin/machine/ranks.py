"""Several processes that work on one run: `torchrun --nproc-per-node=N factorize.py ...`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from resefa_plugin.errors import ResefaError


class Ranks:
    """This process among those of a run; alone by default. Every process calls the same methods in the same order.

    Attributes:
        rank: from 0; rank 0 writes the files.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any] | None:
        """The value of every rank, in order, on rank 0; None on the others.

        Values go through pickle between our processes.
        """
        if self.size == 1:
            return [value]
        values = [None] * self.size if self.first else None
        dist.gather_object(value, values)
        return values

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0, on every rank; those of the others do not count."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """A tensor of one shape from every rank, in order, on every rank."""
        if self.size == 1:
            return [tensor]
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor.contiguous())
        return parts

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks, in place, on every rank."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def least(self, value: int, device: torch.device) -> int:
        """The smallest of the ranks' values, on every rank."""
        return min(int(part) for part in self.all_gather(torch.tensor([value], device=device)))

    def share(self, count: int) -> range:
        """This rank's contiguous part of `range(count)`; the parts differ by one at most."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)


def launched() -> bool:
    """Whether torchrun, or another launcher that sets its variables, started this process as one of several."""
    return int(os.environ.get('WORLD_SIZE', '1')) > 1


def local_device(device: torch.device) -> torch.device:
    """The device of this process: of several GPUs its own. Raises ResefaError if there are too few GPUs."""
    if not launched() or device.type != 'cuda':
        return device
    index = int(os.environ.get('LOCAL_RANK', '0'))
    if index >= torch.cuda.device_count():
        raise ResefaError(f'process {index} of this machine has no GPU, there are {torch.cuda.device_count()}: start '
                          'fewer processes with --nproc-per-node, or give --device=cpu')
    return torch.device('cuda', index)


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """The processes that torchrun started, connected (gloo on CPUs, nccl on GPUs); one process alone otherwise.

    A process that dies breaks the connection: the others end with an error at their next exchange.
    """
    if not launched():
        yield Ranks()
        return
    if device.type == 'cuda':
        torch.cuda.set_device(device)
    dist.init_process_group('nccl' if device.type == 'cuda' else 'gloo')
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
