"""ReSeFa and its rivals, each written anew from its paper, asked the same question: directions that change a region.

A method is a function of a Problem that returns a MethodResult, or raises MethodError where it has nothing to offer.
"""

from __future__ import annotations

import functools
import os
import pathlib
import re
from collections.abc import Callable

from resefa_plugin.baselines.direction_files import from_file
from resefa_plugin.baselines.floor import random_directions
from resefa_plugin.baselines.ganspace import ganspace_directions
from resefa_plugin.baselines.lowrankgan import lowrankgan_directions
from resefa_plugin.baselines.problem import MethodResult, Problem
from resefa_plugin.baselines.published import published_directions
from resefa_plugin.baselines.resefa import (
    resefa_best_directions,
    resefa_directions,
    resefa_quick_directions,
    resefa_stylespace_directions,
)
from resefa_plugin.baselines.sefa import sefa_directions
from resefa_plugin.baselines.stylespace import stylespace_directions
from resefa_plugin.errors import ResefaError

Method = Callable[[Problem], MethodResult]

# Name on the command line -> method.
METHODS: dict[str, Method] = {
    'resefa': resefa_directions,
    'resefa-quick': resefa_quick_directions,
    'resefa-s': resefa_stylespace_directions,
    'resefa-best': resefa_best_directions,
    'published': published_directions,
    'lowrankgan': lowrankgan_directions,
    'stylespace': stylespace_directions,
    'ganspace': ganspace_directions,
    'sefa': sefa_directions,
    'random': random_directions,
}


NEED_JACOBIAN = {'resefa', 'lowrankgan'}  # the whole of it, in the space that is asked for


def parse_method(spec: str) -> tuple[Method, tuple[int, ...] | None]:
    """A method and its layers, of `NAME`, `NAME:LAYERS`, `FILE` or `FILE:LAYERS`.

    Layers are None where the choice is the method's own. LAYERS is a range such as `4-7`; FILE is a directions file
    `.npz` of ours or a `.npy` of another tool.

    Raises ResefaError for an unknown name.
    """
    match = re.fullmatch(r'(.+?)(?::(\d{1,4})(?:-(\d{1,4}))?)?', spec)
    name, low, high = match.groups() if match else (spec, None, None)
    layers = None if low is None else tuple(range(int(low), int(high or low) + 1))
    if layers == ():
        raise ResefaError(f"method '{spec}': expected ascending layers as in {name}:4-7")
    if name in METHODS:
        return METHODS[name], layers
    path = pathlib.Path(name).expanduser()
    if os.path.isfile(path) or path.suffix in ('.npy', '.npz'):  # which of the two it is, its content tells
        return functools.partial(from_file, path), layers
    raise ResefaError(f"method '{spec}' is not one of {', '.join(METHODS)}, each also with layers as in sefa:4-7, or a "
                      'directions file (.npz, .npy)')


def method_file(spec: str) -> pathlib.Path | None:
    """The file that a method comes from; None where it is one of METHODS."""
    method, _ = parse_method(spec)
    return method.args[0] if isinstance(method, functools.partial) else None
