"""A callback for Lightning trainers: what the generator's directions look like while it is being trained."""

from __future__ import annotations

import importlib
import pathlib
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from resefa_plugin.callbacks.directions_writer import DirectionsWriter
from resefa_plugin.errors import ResefaError
from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.factorizer.factorizer import Factorizer
from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.regions.partition import RegionPartition, parse_region

ON_ERROR = ('warn', 'raise')


def _lightning_callback() -> tuple[Any, str]:
    """The base class of Lightning's callbacks, or `object` and why there is none."""
    reasons = []
    for module in ('lightning.pytorch', 'pytorch_lightning'):
        try:
            return importlib.import_module(module).Callback, ''
        except Exception as error:  # a broken torchvision ends the import with a RuntimeError
            reasons.append(f'{module}: {error}')
    return object, '; '.join(reasons)


_Base: Any
_Base, _MISSING = _lightning_callback()


class ResefaCallback(_Base):
    """Factorizes the generator every n epochs and writes `OUTDIR/epoch0004/seed0000-REGION.npz`.

    Works in a Trainer of `lightning` or of `pytorch_lightning`. While it runs, the module is in evaluation mode and
    without gradients; afterwards its tensors, training flags, `requires_grad` and all random states are what they were.
    Only rank zero works, so the module must hold all of its weights there (not FSDP).

    Args:
        make_hook: the module -> a hook of its generator, such as
            `lambda module: FunctionHook(module.generator, module.z_dim, device=module.device)`.
        regions: in the grammar of the command line, or partitions of the pictures' size.
        every_n_epochs: 1 is after each training epoch.
        seeds: of the samples.
        outdir: the folder of all epochs.
        truncation_psi: of the samples.
        on_error: 'warn' lets the training go on if a factorization fails, 'raise' ends it.
        space, layers, resolution: as of Viewpoint; None means the default of each.
        pool: one set of directions for all seeds, see `Factorizer.run`.
        factorizer_options: further arguments of Factorizer, such as `solver=Auto(num_directions=3)`.

    Attributes:
        results: of the last factorization.

    Raises:
        ResefaError: Lightning cannot be imported, or an argument is out of range.
    """

    def __init__(self, make_hook: Callable[[torch.nn.Module], GeneratorHook],
                 regions: Sequence[str | RegionPartition], *, every_n_epochs: int = 1, seeds: Sequence[int] = (0,),
                 outdir: str | pathlib.Path = 'resefa',
                 truncation_psi: float = 1.0, on_error: str = 'warn', space: str | None = None,
                 layers: tuple[int, ...] | None = None, resolution: int | None = None, pool: bool = False,
                 **factorizer_options: Any):
        if _MISSING:
            raise ResefaError('ResefaCallback needs lightning or pytorch_lightning: pip install lightning '
                              f'({_MISSING})')
        super().__init__()
        if every_n_epochs < 1:
            raise ResefaError(f'every_n_epochs is {every_n_epochs}, expected 1 or more')
        if on_error not in ON_ERROR:
            raise ResefaError(f"on_error is '{on_error}', expected one of {', '.join(ON_ERROR)}")
        if isinstance(regions, str) or not regions or not seeds:
            raise ResefaError("regions and seeds must each list one or more, as in regions=['mouth'], seeds=[0]")
        self.make_hook, self.regions, self.seeds = make_hook, list(regions), list(seeds)
        self.every_n_epochs, self.on_error, self.truncation_psi = every_n_epochs, on_error, truncation_psi
        self.outdir, self.factorizer_options = pathlib.Path(outdir), factorizer_options
        self.space, self.layers, self.resolution, self.pool = space, layers, resolution, pool
        self.results: list[RegionResult] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Factorizes if the epoch that ends is one of every n; called by the Trainer."""
        if not trainer.is_global_zero or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        try:
            with borrowed(pl_module):
                self.results = self._factorize(pl_module, self.outdir / f'epoch{trainer.current_epoch:04d}')
        except Exception as error:
            if self.on_error == 'raise':
                raise
            reason = f'{type(error).__name__}: {error}'
            warnings.warn(f'epoch {trainer.current_epoch}: no directions, {reason}', stacklevel=2)

    def _factorize(self, pl_module: Any, folder: pathlib.Path) -> list[RegionResult]:
        hook = self.make_hook(pl_module)
        regions = [parse_region(region, hook.image_shape[1:]) if isinstance(region, str) else region
                   for region in self.regions]
        options = dict(self.factorizer_options)
        callbacks: list[Callback] = [DirectionsWriter(folder), *options.pop('callbacks', ())]
        space = hook.space(self.space or hook.default_space, self.layers)
        samples = [hook.sample(seed, self.truncation_psi) for seed in self.seeds]
        viewpoints = [Viewpoint(hook, space, sample, self.resolution) for sample in samples]
        return Factorizer(viewpoints, regions, callbacks=callbacks, **options).run(self.pool)


@contextmanager
def borrowed(module: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; restores tensors, flags and random states, whatever was done to the module."""
    training = {part: part.training for part in module.modules()}
    buffers = [(part, name, buffer) for part in module.modules() for name, buffer in part._buffers.items()]
    parameters = [(parameter, parameter.data, parameter.requires_grad) for parameter in module.parameters()]
    gradients = [(parameter, parameter.grad, parameter.grad.data) for parameter in module.parameters()
                 if parameter.grad is not None]
    device, python, numpy = getattr(module, 'device', None), random.getstate(), np.random.get_state()
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        try:
            module.eval().requires_grad_(False)
            with torch.inference_mode(False), torch.enable_grad():
                yield
        finally:
            if device is not None and module.device != device:
                module.to(device)  # what the module says of itself; its tensors follow
            for parameter, data, requires_grad in parameters:
                parameter.grad = None  # one that came meanwhile
                parameter.data = data
                parameter.requires_grad_(requires_grad)
            for parameter, gradient, data in gradients:
                gradient.data = data
                parameter.grad = gradient
            for part, name, buffer in buffers:
                part._buffers[name] = buffer
            for part, was_training in training.items():
                part.training = was_training
            random.setstate(python)
            np.random.set_state(numpy)
