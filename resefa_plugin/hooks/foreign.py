"""Generators that foreign code opens: a function that the user names, and plugins in other packages.

Both are functions that return a hook. For any differentiable network four lines are enough::

    from resefa_plugin import FunctionHook

    def my_hook(device):
        G = load_my_network().eval().to(device)
        return FunctionHook(G, z_dim=128, device=device)  # G: [N, z_dim] -> [N, C, H, W] in [-1, 1]
"""

from __future__ import annotations

import contextlib
import importlib
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

import torch

from resefa_plugin.errors import CheckpointError, ResefaError
from resefa_plugin.hooks.base import GeneratorHook

GROUP = 'resefa_plugin.hooks'


def open_function(spec: str, device: torch.device | str = 'cpu') -> GeneratorHook:
    """The hook that a function of the user returns; importing and calling it EXECUTES the user's code.

    Args:
        spec: `module:function`. The module is looked for in the current folder first, then where Python looks; the
            function takes a device and returns a GeneratorHook.
        device: where the network shall be.

    Raises:
        CheckpointError: there is no such module or function, it fails, or it returns something else.
        ResefaError: raised by the function itself.
    """
    what = f'--hook={spec}'
    module_name, _, function_name = spec.partition(':')
    if not all(part.isidentifier() for part in (*module_name.split('.'), function_name)):
        raise CheckpointError(f'{what}: expected MODULE:FUNCTION, such as my_gan:my_hook for my_hook in my_gan.py')
    with _current_folder_importable():
        module = _import(what, module_name)
        function = getattr(module, function_name, None)
        if not callable(function):
            functions = [name for name, value in vars(module).items()
                         if getattr(value, '__module__', None) == module.__name__ and callable(value)]
            came = 'is not a function' if hasattr(module, function_name) else 'does not exist'
            raise CheckpointError(f'{what}: {function_name} {came} in {_place(module)}; its functions are '
                                  f'{", ".join(functions) or "none"}')
        hook = _call(what, function, device)
    hook.name = spec
    hook.implementation = f'{function_name} in {_place(module)}'
    return hook


def plugin_names() -> list[str]:
    """The names that installed packages register; none of their code is run."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def plugin_opener(name: str) -> Callable[[str, torch.device | str], GeneratorHook] | None:
    """The function of (rest, device) that a package registers under a name, None if no package does.

    The package is imported when that function is called, so that a broken package does not break other networks.

    Raises CheckpointError if several packages register the name.
    """
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    if len(points) > 1:
        raise CheckpointError(f'--network={name}: several packages register this name: '
                              f'{", ".join(sorted(map(_distribution, points)))}; uninstall all but one')
    if not points:
        return None

    def open_plugin(rest: str, device: torch.device | str) -> GeneratorHook:
        what = f"--network={name}: plugin '{points[0].value}' of {_distribution(points[0])}"
        try:
            function = points[0].load()
        except (Exception, SystemExit) as error:
            raise CheckpointError(f'{what} cannot be loaded: {_reason(error)}; update or uninstall it') from error
        if not callable(function):
            raise CheckpointError(f'{what} is {type(function).__name__}; expected a function of (rest, device)')
        return _call(what, function, rest, device)

    return open_plugin


def _distribution(point: EntryPoint) -> str:
    return point.value if point.dist is None else f'{point.dist.name} {point.dist.version}'


@contextlib.contextmanager
def _current_folder_importable() -> Iterator[None]:
    folder = str(pathlib.Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _import(what: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f'{name}.'.startswith(f'{error.name}.'):
            raise CheckpointError(f'{what}: no module {error.name} in {pathlib.Path.cwd()} or among the installed '
                                  'packages; name it as in an import, without .py') from error
        raise CheckpointError(f'{what}: {name} cannot be imported: {_reason(error)}') from error


def _call(what: str, function: Callable[..., object], *arguments: object) -> GeneratorHook:
    try:
        hook = function(*arguments)
    except ResefaError:
        raise
    except (Exception, SystemExit) as error:
        raise CheckpointError(f'{what} failed: {_reason(error)}') from error
    if not isinstance(hook, GeneratorHook):
        raise CheckpointError(f'{what} returned {type(hook).__name__}, expected a GeneratorHook; wrap a function f of '
                              'latents [N, z_dim] as FunctionHook(f, z_dim=128, device=device)')
    return hook


def _reason(error: BaseException) -> str:
    """An error of foreign code in one line. If it was raised in the current folder, with file and line."""
    here = pathlib.Path.cwd()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if here in pathlib.Path(f.filename).parents]
    where = f' ({pathlib.Path(frames[-1].filename).name}, line {frames[-1].lineno})' if frames else ''
    return f'{type(error).__name__}: {error}{where}'


def _place(module: ModuleType) -> str:
    return getattr(module, '__file__', None) or module.__name__
