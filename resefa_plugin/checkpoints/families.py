"""The architectures whose files are opened: everything that is known of each, in one entry.

A new architecture takes an entry in `FAMILIES` and a file with its network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from resefa_plugin.checkpoints.claimed_sizes import (
    check_stylegan2_sizes,
    check_stylegan3_sizes,
    check_stylegan_xl_sizes,
)
from resefa_plugin.checkpoints.pickles.nvlabs_pickle import PersistentObject
from resefa_plugin.checkpoints.stylegan_xl_arguments import complete_stylegan_xl
from resefa_plugin.networks import stylegan2
from resefa_plugin.networks.stylegan3 import network as stylegan3
from resefa_plugin.networks.stylegan3 import xl as stylegan_xl

NVIDIA_LICENCE = ('the code of the checkout is under the NVIDIA Source Code License: non-commercial use only (research '
                  'or evaluation). The network file has a licence of its own')


@dataclass(frozen=True)
class Repository:
    """An official repository, of which the user may have a checkout.

    Attributes:
        name: of the repository, without its owner.
        commit: the last one; this package is tested with it.
        licence: what the user must know about its code.
        nests_synthesis_kwargs: whether its generators take the arguments of the synthesis network as one dictionary,
            `synthesis_kwargs={...}`; if not, they take them beside their own.
        runs_without_plugins: whether its networks run on a GPU, slowly, if its CUDA plugins cannot be built.
        needs_pkg_resources: whether its code imports `pkg_resources`, which setuptools 82 and later lack.
    """

    name: str
    commit: str
    licence: str
    nests_synthesis_kwargs: bool = False
    runs_without_plugins: bool = False
    needs_pkg_resources: bool = False

    def spelled(self, synthesis_kwargs: Mapping[str, object]) -> dict[str, object]:
        """Arguments of the synthesis network as keyword arguments of this repository's generators."""
        return {'synthesis_kwargs': synthesis_kwargs} if self.nests_synthesis_kwargs else {**synthesis_kwargs}


@dataclass(frozen=True)
class Home:
    """Where a repository has its generator of a family.

    Attributes:
        repository: the repository.
        module: the module that has the class, `Generator`.
        defaults: arguments of the synthesis network whose defaults differ between the repositories of the family: their
            values here, which a file of this repository means that does not say them.
        not_taken: arguments of the synthesis network that this generator lacks, and that do not change the picture.
        reads: files that its constructor reads besides, in words. It cannot be built from a network file then, and
            serves the checkout's own loader only; empty if there are none.
    """

    repository: Repository
    module: str
    defaults: Mapping[str, object] = field(default_factory=dict)
    not_taken: Collection[str] = ()
    reads: str = ''


@dataclass(frozen=True)
class GeneratorFamily:
    """An architecture.

    Attributes:
        name: in messages and file names, e.g. `stylegan2`.
        title: as its authors write it.
        mark: a tensor that every state of it has. If states of it have the mark of another family too, its entry comes
            first in `FAMILIES`.
        lacks: a tensor that no state of it has, where the mark is that of other states, too; empty if it is not.
        network: our own class, which takes `z_dim`, `c_dim`, `w_dim`, `img_resolution`, `img_channels`,
            `mapping_kwargs` and `synthesis_kwargs`, and has as `parts` the classes that take what is in these two.
        mapping_layers: layers of the mapping network, if a file does not say `num_layers`.
        check_sizes: compares with the state what a file claims about sizes of its synthesis network; see
            `claimed_sizes`.
        homes: the official generators, at least one. A file that may be of several is taken to be of the first.
        known_sources: SHA-256 of the Python source that official files carry -> the repository and commits it is from.
        equal_forks: the same for the files of forks that make the official pictures.
        class_names: of the official generators in files.
        complete: gives the keyword arguments of a generator in a file that does not say all of them itself, as our own
            network takes them; it raises CheckpointError. None if files say all.
    """

    name: str
    title: str
    mark: str
    network: Any
    mapping_layers: int
    check_sizes: Callable[[str, Collection[str], int, Mapping[str, object]], None]
    homes: tuple[Home, ...]
    known_sources: Mapping[str, str]
    lacks: str = ''
    class_names: tuple[str, ...] = ('Generator',)
    complete: Callable[[PersistentObject], dict] | None = None
    equal_forks: Mapping[str, str] = field(default_factory=dict)

    def origin_of(self, source_sha256: str) -> str:
        """Where a source that makes the official pictures is from; empty if it is not known to make them."""
        return self.known_sources.get(source_sha256) or self.equal_forks.get(source_sha256, '')

    def has(self, state_dict: Mapping[str, Tensor]) -> bool:
        """Whether a state is of it, or of a family that comes before it in `FAMILIES`."""
        return self.mark in state_dict and self.lacks not in state_dict

    def home_in(self, repository: Repository) -> Home | None:
        """Where a repository has it, None if it does not."""
        return next((home for home in self.homes if home.repository == repository), None)


ADA_PYTORCH_REPOSITORY = Repository('stylegan2-ada-pytorch', 'd72cc7d', NVIDIA_LICENCE, nests_synthesis_kwargs=True,
                                    runs_without_plugins=True)
STYLEGAN3_REPOSITORY = Repository('stylegan3', 'c233a91', NVIDIA_LICENCE, needs_pkg_resources=True)
STYLEGAN_XL_REPOSITORY = Repository('stylegan-xl', '4241ff9', NVIDIA_LICENCE, needs_pkg_resources=True)

# Sources are hashed as Python's `inspect.getsource` gives them, hence without the byte order mark that files in the
# repositories may have. Only StyleGAN-XL's file has changed since its repository was published, and not in what it
# computes.
STYLEGAN2 = GeneratorFamily(
    name='stylegan2', title='StyleGAN2', mark='synthesis.b4.conv1.weight', network=stylegan2.Generator,
    mapping_layers=8, check_sizes=check_stylegan2_sizes,
    homes=(Home(ADA_PYTORCH_REPOSITORY, 'training.networks', {'conv_clamp': None, 'num_fp16_res': 0},
                not_taken=('fused_modconv_default',)),  # it decides by itself which of two equal ways is faster
           Home(STYLEGAN3_REPOSITORY, 'training.networks_stylegan2', {'conv_clamp': 256, 'num_fp16_res': 4})),
    known_sources={'53b4e1ec457171d4e2c1454d48013765ab626141c35cdd383b020950effe11a5':
                   'training/networks.py of stylegan2-ada-pytorch 375a436..d72cc7d',
                   'b6f14e8fa2a95de4d38218fef31380c6a70de770f585107e209ff83075c307ef':
                   'training/networks_stylegan2.py of stylegan3 8fb5177..c233a91'},
    # Compared picture by picture, with square networks; the files are of one commit each.
    equal_forks={'bf34881e90f193de94aef009dbc786038f93a1d7c6f7c1cf1279770e462f0615':
                 "training/networks.py of dvschultz's stylegan2-ada-pytorch 0e2caab",
                 'e7c6bd62c13983b4f66c330ea3f0fb8534bf2762aca6c41f239795044d27ef13':
                 'pg_modules/networks_stylegan2.py of projected-gan e1c246b'})

STYLEGAN3 = GeneratorFamily(
    name='stylegan3', title='StyleGAN3', mark='synthesis.input.freqs', network=stylegan3.Generator,
    mapping_layers=2, check_sizes=check_stylegan3_sizes,
    homes=(Home(STYLEGAN3_REPOSITORY, 'training.networks_stylegan3'),),
    known_sources={'06082fb3e8929e477f58fb8bc78e7ecb9a9209eb01444272d1d153c85a6a89f7':
                   'training/networks_stylegan3.py of stylegan3 8fb5177..c233a91'})

STYLEGAN_XL = GeneratorFamily(
    name='stylegan-xl', title='StyleGAN-XL', mark='mapping.embed.weight', lacks='mapping.embed.bias',
    network=stylegan_xl.Generator, mapping_layers=2, check_sizes=check_stylegan_xl_sizes,
    homes=(Home(STYLEGAN_XL_REPOSITORY, 'training.networks_stylegan3_resetting',
                reads='embeddings of classes, and the file of the stem that it was trained from'),),
    known_sources={'f06d01fcea34325a71abb26ea37f2a3271ccddff3a0df6a7be26b60ddde36ad6':
                   'training/networks_stylegan3_resetting.py of stylegan-xl aa65313..3a20ed5',
                   '9929b15f6a82ecdb685f40924244c506dfb14a8071b34cc2de4d531809c9bdc5':
                   'training/networks_stylegan3_resetting.py of stylegan-xl b5b9683..4241ff9'},
    class_names=('Generator', 'SuperresGenerator'), complete=complete_stylegan_xl)

FAMILIES: tuple[GeneratorFamily, ...] = (STYLEGAN_XL, STYLEGAN2, STYLEGAN3)


def family_of(state_dict: Mapping[str, Tensor]) -> GeneratorFamily | None:
    """The family that a state is of, None if it is of none that is known."""
    return next((family for family in FAMILIES if family.has(state_dict)), None)


def families_in(repository: Repository) -> list[GeneratorFamily]:
    """The families that a repository has a generator of."""
    return [family for family in FAMILIES if family.home_in(repository) is not None]


def repositories() -> list[Repository]:
    """All repositories that have a generator of some family, each once."""
    return list(dict.fromkeys(home.repository for family in FAMILIES for home in family.homes))
