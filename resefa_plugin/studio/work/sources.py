"""Where a sample of the studio comes from, and how the command line would ask for it."""

from __future__ import annotations

import dataclasses
import pathlib
from dataclasses import dataclass

from torch import Tensor

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.latent_files import make_sample, plain_samples, read_latents
from resefa_plugin.hooks.style_based import StyleBasedHook


@dataclass(frozen=True)
class Source:
    """A sample as a user asks for it: a seed, or a latent file, with class and truncation.

    Attributes:
        seed: None for an uploaded latent.
        truncation_psi, truncation_cutoff: as `--trunc` and `--trunc-cutoff`.
        label: as `--class`; empty for none.
        note: what an uploaded latent was taken for.
    """

    seed: int | None = None
    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None
    label: str = ''
    note: str = ''

    @property
    def title(self) -> str:
        """What a person calls it."""
        return 'Your latent' if self.seed is None else f'Seed {self.seed}'

    def flags(self, sample: Sample) -> list[str]:
        """The flags of `resefa factorize` and `edit`; an uploaded latent is read from the saved `original.npz`."""
        flags = ['--projected-w=original.npz' if self.seed is None else f'--seeds={self.seed}']
        if self.seed is not None or 'z' in sample.latents:  # else `edit` takes that of the directions
            flags.append(f'--trunc={self.truncation_psi!r}')
        if (self.seed is not None or 'z' in sample.latents) and self.truncation_cutoff is not None:
            flags.append(f'--trunc-cutoff={self.truncation_cutoff}')
        return flags + ([f'--class={self.label}'] if self.label else [])


def seed_sample(hook: GeneratorHook, source: Source) -> Sample:
    """The sample of a seed. Raises ResefaError for a seed, class or truncation that the generator does not have."""
    assert source.seed is not None
    c = class_label(hook, source.label)
    if hook.c_dim > 1 and c is None:
        raise ResefaError(f'{hook.name} has classes 0 to {hook.c_dim - 1}: choose one')
    return hook.sample(source.seed, source.truncation_psi, source.truncation_cutoff, c)


def file_sample(hook: GeneratorHook, path: pathlib.Path, source: Source, number: int = 0) -> tuple[Sample, str]:
    """A latent of a file, by its number from 0, and what it was taken for.

    Raises ResefaError for a file that cannot be read as latents of this generator, or has no such number.
    """
    c = class_label(hook, source.label)
    if isinstance(hook, StyleBasedHook):
        latents = read_latents(path, hook)
        _check_number(number, len(latents))
        sample, note = make_sample(hook, latents[number], 'proj00', c, source.truncation_psi, source.truncation_cutoff)
        count = len(latents)
    else:
        samples = plain_samples(path, hook, source.truncation_psi, c)
        _check_number(number, len(samples))
        count, (found, note) = len(samples), samples[number]
        sample = dataclasses.replace(found, name='proj00')
    return sample, note if count == 1 else f'number {number + 1} of {count}, {note}'


def _check_number(number: int, count: int) -> None:
    if not 0 <= number < count:
        raise ResefaError(f'the file has {count} latents: choose a number from 1 to {count}')


def class_label(hook: GeneratorHook, label: str) -> Tensor | None:
    """The label `[1, c_dim]` of a class, None for none. Raises ResefaError for a class that the generator lacks."""
    if label and not hook.c_dim:
        raise ResefaError(f'{hook.name} is unconditional: leave the class empty')
    return hook.class_vector(label) if label else None
