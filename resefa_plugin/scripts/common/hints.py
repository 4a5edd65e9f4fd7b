"""Command lines that are almost right: what was meant, and how it is written."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import click
from typing_extensions import override

from resefa_plugin.regions.presets import PRESETS
from resefa_plugin.scripts.common.types import TextType

# What other tools call an option, or how an option may be misremembered -> what is typed here.
_OTHER_NAMES = {
    **dict.fromkeys(('--psi', '--truncation', '--truncation-psi', '--truncation_psi'), '--trunc=0.7'),
    **dict.fromkeys(('--out', '--output', '--output-dir', '--out-dir', '--out_dir', '--output_dir', '-o'),
                    '--outdir=FOLDER'),
    **dict.fromkeys(('--model', '--pkl', '--ckpt', '--checkpoint', '--generator', '--weights', '-n'),
                    '--network=FILE'),
    **dict.fromkeys(('--mask', '--box', '--preset', '-r'), '--region=..., which takes presets, boxes and mask:FILE'),
    **dict.fromkeys(('--gpu', '--cuda'), '--device=cuda'),
    '--cpu': '--device=cpu',
    '--latent': '--projected-w=FILE', '--w': '--projected-w=FILE', '--latents': '--projected-w=FILE',
    '--image': '--target=FILE', '--photo': '--target=FILE', '--input': '--target=FILE',
    '--count': '--num-directions=INT', '--number': '--index=INT', '--direction': '--directions=FILE',
    '-s': '--seeds=0',
}
# Of options that must be given: an example.
_EXAMPLES = {
    'outdir': 'Name a folder for the results, as in --outdir=out',
    'regions': 'Say what to change, as in --region=mouth; --help lists the names, and other forms',
    'directions': 'Name the file that factorize wrote, as in --directions=out/seed0000-mouth.npz',
    'targets': 'Name the photograph, as in --target=portrait.jpg',
}
_DIRECTIONS, _PHOTOGRAPHS, _NETWORKS = ('.npz', '.npy'), ('.jpg', '.jpeg', '.png'), ('.pkl', '.pt', '.pth')


class HintedCommand(click.Command):
    """A command that answers a slip with what was meant.

    Options that other tools name otherwise, words that belong to the option before them, options that are missing.
    """

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)
        try:
            if not any(isinstance(param, click.Argument) for param in self.params):
                self._refuse_loose_words(ctx, words)
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            meant = self._meant(ctx, error.option_name, words)
            if meant:
                raise click.UsageError(f'No such option: {error.option_name}; did you mean {meant}?', ctx) from error
            raise
        except click.MissingParameter as error:
            if error.param is not None and not error.message:
                error.message = _EXAMPLES.get(error.param.name or '', '')
            raise

    def _refuse_loose_words(self, ctx: click.Context, words: Sequence[str]) -> None:
        """Raises click.UsageError for words that belong to no option."""
        if set(words) & set(self.get_help_option_names(ctx)):
            return
        loose = self.make_parser(ctx).parse_args(list(words))[1]
        if loose:
            plural, listed = 's' * (len(loose) > 1), ' '.join(loose)
            raise click.UsageError(f'Got unexpected extra argument{plural} ({listed}): {self._as_option(words, loose)}',
                                   ctx)

    def _as_option(self, words: Sequence[str], loose: Sequence[str]) -> str:
        """How words that belong to no option are meant, with the option before them, or by themselves."""
        at = words.index(loose[0])
        flag, equals, value = (words[at - 1] if at else '').partition('=')
        if not equals and at > 1:
            flag, value = words[at - 2], flag
        option = self._option(flag)
        if option is not None and value:
            values = [value, *loose]
            if isinstance(option.type, TextType):
                listed = ','.join(part.strip(', ') for part in values)
                return f'lists are written with commas and without spaces: {flag}={listed}'
            if option.multiple and (flag != '--region' or set(loose) <= set(PRESETS)):
                return f'give {flag} once for each: {" ".join(f"{flag}={part}" for part in values)}'
        for name, endings in (('--directions', _DIRECTIONS), ('--target', _PHOTOGRAPHS), ('--network', _NETWORKS)):
            if self._option(name) is not None and loose[0].lower().endswith(endings):
                return f'did you mean {name}={loose[0]}?'
        if self._option('--region') is not None and loose[0] in PRESETS:
            return f'did you mean --region={loose[0]}?'
        if loose[0].lower().endswith(_PHOTOGRAPHS):
            return f'photographs go to resefa photo --target={loose[0]}, masks to --region=mask:{loose[0]}'
        return 'all that is given to a command has a name, as in --seeds=0'

    def _option(self, flag: str) -> click.Option | None:
        return next((param for param in self.params if isinstance(param, click.Option) and flag in param.opts), None)

    def _meant(self, ctx: click.Context, name: str, words: Sequence[str]) -> str:
        """The option that is meant by one that there is not, as it is typed; empty where nothing is near."""
        if name == '--network' and any(param.name == 'name' for param in self.params):
            value = next(word.partition('=')[2] for word in words if word.startswith(name))
            return f'{ctx.command_path} {value or "NETWORK"}'
        known = [flag for param in self.params if isinstance(param, click.Option) for flag in param.opts]
        if len(name) == 2:  # -outdir=x is read as -o and others
            whole = next((word for word in words if word.startswith(name) and len(word) > 2), name)
            if f'-{whole.partition("=")[0]}' in known:
                return f'-{whole}'
        meant = _OTHER_NAMES.get(name.replace('_', '-'), _OTHER_NAMES.get(name, ''))
        near = difflib.get_close_matches(name.replace('_', '-'), known, n=1, cutoff=0.75)
        if near and not (meant and name not in (near[0], f'{near[0]}s', near[0].removesuffix('s'))):
            return near[0]
        return meant if self._option(meant.partition('=')[0].partition(' ')[0]) is not None else ''
