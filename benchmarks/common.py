"""What the benchmarks share: the machine, timing, and tables that are written by the script and never by hand."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import re
import resource
import statistics
import time
from collections.abc import Callable

import torch

HERE = pathlib.Path(__file__).parent


def environment() -> dict[str, object]:
    """The machine and the versions, as they go with every figure."""
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    record = {'cpu': models[0] if models else platform.processor(), 'cores': os.cpu_count(),
              'threads': torch.get_num_threads(), 'python': platform.python_version(), 'torch': torch.__version__}
    if torch.cuda.is_available():
        record['gpu'] = torch.cuda.get_device_name()
    return record


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one call, the device idle before and after."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def paired(calls: dict[str, Callable[[], object]], device: torch.device,
           rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Times several calls in turn, `rounds` times after one round of warm-up, so that a busy moment hits all of them.

    Returns: wall-clock seconds, and seconds of processor time, which other programs on the machine disturb less.
    """
    wall: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            elapsed = seconds(call, device)
            if round_:
                wall[name].append(elapsed)
                processor[name].append(time.process_time() - start)
    return wall, processor


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median over the rounds of the ratio within each round."""
    return statistics.median(n / d for n, d in zip(numerator, denominator, strict=True))


def peak_gigabytes(device: torch.device) -> float:
    """Largest memory of the process so far: the GPU's, else resident main memory."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def publish(name: str, record: dict, table: str) -> None:
    """Writes results/NAME.json, and the table between the marks `<!-- NAME -->` and `<!-- /NAME -->` of README.md."""
    (HERE / 'results').mkdir(exist_ok=True)
    (HERE / 'results' / f'{name}.json').write_text(json.dumps(record, indent=2) + '\n')
    insert(HERE / 'README.md', name, table)


def insert(readme: pathlib.Path, name: str, table: str) -> None:
    """Puts a table between the marks `<!-- NAME -->` and `<!-- /NAME -->` of a page."""
    text = readme.read_text()
    pattern = re.compile(rf'(<!-- {name} -->\n).*?(<!-- /{name} -->)', re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f'{readme} has no marks <!-- {name} --> and <!-- /{name} -->')
    readme.write_text(pattern.sub(lambda match: match[1] + table + match[2], text))
