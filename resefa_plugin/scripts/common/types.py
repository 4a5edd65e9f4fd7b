"""Types of command line options: what may be typed, and what the command gets of it."""

from __future__ import annotations

import abc
import math
import os
import pathlib
import re
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from resefa_plugin.errors import ResefaError
from resefa_plugin.machine.nearby import holding
from resefa_plugin.projection.alignment import parse_points
from resefa_plugin.projection.framing import AUTO, WHOLE
from resefa_plugin.ranges import parse_ranges


class UserPath(click.Path):
    """A path in which `~` is the home folder: shells leave it as it is in `--outdir=~/x`."""

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = os.path.expanduser(value)
        if self.file_okay and not self.dir_okay and os.path.isdir(path):
            self.fail(f"'{value}' is a folder, expected a file{holding(path)}", param, ctx)
        return super().convert(path, param, ctx)


FILE = UserPath(dir_okay=False, path_type=pathlib.Path)
FOLDER = UserPath(file_okay=False, path_type=pathlib.Path)
EXISTING = UserPath(exists=True, path_type=pathlib.Path)


class TextType(click.ParamType, abc.ABC):
    """Base of the types below: a text is parsed once, and what click passes again as a value stays as it is.

    `name` in capitals is what the help shows as the value.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value. Raises click.BadParameter, which names the option."""
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except ResefaError as error:
            self.fail(str(error), param, ctx)

    @abc.abstractmethod
    def parse(self, text: str) -> Any:
        """The value of a text. Raises ResefaError."""


class FiniteNumber(click.types.FloatParamType):
    """A number that is one: neither NaN nor infinite."""

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, str) and re.fullmatch(r'\s*-?\d*,\d+\s*', value):
            self.fail(f"'{value}' is not a number; decimals have a point: did you mean "
                      f"{value.strip().replace(',', '.')}?", param, ctx)
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f'{value} is not a finite number', param, ctx)
        return number


class FiniteRange(FiniteNumber, click.FloatRange):
    """The same within bounds: NaN is not below any bound, nor above."""


class IndexNumber(click.IntRange):
    """The number of a direction, from 1."""

    def __init__(self) -> None:
        super().__init__(min=1)

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip()
        if re.fullmatch(r'\d+([,-]\d+)+', text):
            each = ' '.join(f'--index={number}' for number in re.findall(r'\d+', text))
            self.fail(f"'{value}' is more than one direction: give --index for each, as in {each}, which are then "
                      'added up', param, ctx)
        if re.fullmatch(r'-?0*', text):
            self.fail('directions are counted from 1, which is the best', param, ctx)
        number: int = super().convert(value, param, ctx)
        return number


def _numbers(text: str) -> list[float]:
    """The finite numbers between the commas of a text; none if anything else is there."""
    try:
        numbers = [float(part) for part in text.split(',')]
    except ValueError:
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []


class SeedRange(TextType):
    """`0,1,4-6` -> `[0, 1, 4, 5, 6]`, in the order in which they are given."""

    name = 'range'

    @override
    def parse(self, text: str) -> list[int]:
        return parse_ranges(text, 'seeds')


class LayerRange(TextType):
    """`5,4-6` -> `(4, 5, 6)`: layers in order, each once."""

    name = 'range'

    @override
    def parse(self, text: str) -> tuple[int, ...]:
        return tuple(sorted(set(parse_ranges(text, 'layers'))))


class StrengthRange(TextType):
    """`-3,3` -> `(-3.0, 3.0)`; one number means from its negative to it."""

    name = 'low,high'

    @override
    def parse(self, text: str) -> tuple[float, float]:
        numbers = _numbers(text)
        if len(numbers) not in (1, 2):
            raise ResefaError(f"'{text}' is not LOW,HIGH: expected two numbers such as -3,3")
        return (-numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


class ValueRange(TextType):
    """`0,255` -> `(0.0, 255.0)`: what is black and what is white."""

    name = 'low,high'

    @override
    def parse(self, text: str) -> tuple[float, float]:
        numbers = _numbers(text)
        if len(numbers) != 2 or not numbers[0] < numbers[1]:
            raise ResefaError(f"'{text}' is not LOW,HIGH: expected two numbers, that of black first, such as 0,255")
        return numbers[0], numbers[1]


class Vector2(TextType):
    """`0.3,-1` -> `(0.3, -1.0)`."""

    name = 'x,y'

    @override
    def parse(self, text: str) -> tuple[float, float]:
        numbers = _numbers(text)
        if len(numbers) != 2:
            raise ResefaError(f"'{text}' is not X,Y: expected two numbers, such as 0.3,0")
        return numbers[0], numbers[1]


class Degrees(TextType):
    """`-90` -> `-90.0`."""

    name = 'degrees'

    @override
    def parse(self, text: str) -> float:
        try:
            angle = float(text)
        except ValueError:
            angle = math.nan
        if not math.isfinite(angle):
            raise ResefaError(f"'{text}' is not an angle: expected a number of degrees, such as 45")
        return angle


class Shard(TextType):
    """`2/4`, the second of four parts -> `(2, 4)`."""

    name = 'i/n'

    @override
    def parse(self, text: str) -> tuple[int, int]:
        match = re.fullmatch(r'\s*(\d{1,6})/(\d{1,6})\s*', text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise ResefaError(f"'{text}' is not I/N: expected a part from 1 to N, such as 1/4 to 4/4")
        return int(match[1]), int(match[2])


class Device(TextType):
    """`cuda:1` -> `torch.device('cuda:1')`, on which something was put to see that it is there."""

    name = 'device'

    @staticmethod
    def default() -> str:
        """The GPU if there is one, else the CPU."""
        return 'cuda' if torch.cuda.is_available() else 'cpu'

    @override
    def parse(self, text: str) -> torch.device:
        try:
            device = torch.device(text)
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ResefaError(f"'{text}' cannot be used: {str(error).splitlines()[0]}. "
                              'Try cpu, cuda, cuda:1 or mps') from error
        return device


class Placement(TextType):
    """`auto` and `none` as they are; `x,y,x,y,...` -> the points of a face, `[4 or 5, 2]`."""

    name = 'auto|none|x,y,...'

    @override
    def parse(self, text: str) -> str | NDArray[np.float64]:
        if text in (AUTO, WHOLE):
            return text
        try:
            numbers = [float(part) for part in text.split(',')]
        except ValueError:
            raise ResefaError(f"'{text}' is not auto, none or x,y,...: expected numbers such as 202,100,248,103,206,"
                              '143,243,143, the points of a face') from None
        return parse_points(numbers)


class NameList(TextType):
    """`resefa,sefa:4-7` -> `('resefa', 'sefa:4-7')`; nothing is an empty list."""

    name = 'list'

    @override
    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(name for name in text.split(',') if name)


class NamedFile(TextType):
    """`identity=sface.onnx` -> `('identity', Path('sface.onnx'))`."""

    name = 'name=file'

    @override
    def parse(self, text: str) -> tuple[str, pathlib.Path]:
        name, equals, path = text.partition('=')
        if not equals:
            raise ResefaError(f"'{text}' is not NAME=FILE, as in identity=sface.onnx")
        return name, pathlib.Path(path).expanduser()
