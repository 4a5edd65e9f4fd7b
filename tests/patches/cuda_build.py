"""Compiles the official plugins on a machine without a GPU.

`python tests/patches/cuda_build.py FOLDER UPSTREAM [CAPABILITIES ...]`: FOLDER is for an environment of its own, 6 GB,
with this package, torch for CUDA and nvcc from the package index; it is made if it is not there. UPSTREAM has the
official checkouts under their names, as for the tests marked `upstream`. Each of CAPABILITIES is one that plugins are
compiled for, such as 8.6, or several at once, such as `8.0;8.6;8.9;9.0`, which is meant if none is given. It is done by
`resefa doctor --build`, which goes through the patched loader. Prints what that says of each plugin, and the seconds of
processor time of each checkout.
"""

from __future__ import annotations

import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import venv

ROOT = pathlib.Path(__file__).parents[2]
PLUGINS = {'stylegan2-ada-pytorch': ('bias_act', 'upfirdn2d'), 'stylegan3': ('bias_act', 'upfirdn2d', 'filtered_lrelu')}
CAPABILITIES = '8.0;8.6;8.9;9.0'


def make_environment(folder):
    """An environment with this package and a compiler that fits its torch; returns its folder of commands."""
    commands = folder / 'env' / 'bin'
    if not commands.is_dir():
        venv.create(folder / 'env', with_pip=True)
    pip = [commands / 'python', '-m', 'pip', 'install', '--quiet']
    subprocess.run([*pip, str(ROOT), 'requests', 'setuptools'], check=True)  # a checkout imports requests
    wanted = subprocess.run([commands / 'python', '-c', 'from resefa_plugin.machine import cuda_home; '
                                                        'print(cuda_home.packages())'],
                            cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
    if wanted == 'None':
        raise SystemExit('the torch of this package index is not for CUDA 13 or later: no nvcc can be had for it')
    subprocess.run([*pip, wanted], check=True)
    return commands


def compile_all(commands, checkout, capabilities, scratch):
    """What doctor says of the plugins of a checkout, by name, and the processor's seconds."""
    environment = {**os.environ, 'TORCH_CUDA_ARCH_LIST': capabilities, 'TORCH_EXTENSIONS_DIR': str(scratch / 'built'),
                   'RESEFA_CACHE': str(scratch / 'cache'), 'MAX_JOBS': '1', 'CUDA_VISIBLE_DEVICES': '',
                   'PATH': f'{commands}{os.pathsep}{os.environ["PATH"]}'}
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([commands / 'resefa', 'doctor', f'--repo={checkout}', '--build'], cwd=scratch,
                          env=environment, capture_output=True, text=True, check=False)
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    said = dict(re.findall(r'^(\w+) +(.*)$', done.stdout, re.MULTILINE))
    architectures = [f'sm_{each.replace(".", "")}' for each in capabilities.split(';')]
    for plugin in PLUGINS[checkout.name]:
        if not said.get(plugin, '').startswith('builds'):
            raise SystemExit(f'{checkout.name}: {plugin} {said.get(plugin)}\n{done.stdout}{done.stderr}')
        ninja, = (scratch / 'built').glob(f'{plugin}_plugin/**/build.ninja')
        assert all(each in ninja.read_text() for each in architectures), f'{plugin} is not for {capabilities}'
        assert list(ninja.parent.glob('*.so'))
    return {plugin: said[plugin] for plugin in PLUGINS[checkout.name]}, seconds


def main(folder, upstream, *each):
    """Compiles everything and prints a line for each plugin and each of the capabilities."""
    folder, upstream = (pathlib.Path(path).resolve() for path in (folder, upstream))
    folder.mkdir(parents=True, exist_ok=True)
    commands = make_environment(folder)
    for name in PLUGINS:
        for capabilities in each or [CAPABILITIES]:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                said, seconds = compile_all(commands, upstream / name, capabilities, pathlib.Path(scratch))
            for plugin, text in said.items():
                print(f'{name:<22} {capabilities} {plugin:<15} {text}', flush=True)
            print(f'{name:<22} {capabilities} {seconds:.0f} s of processor time', flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
