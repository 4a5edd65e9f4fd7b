"""The `resefa` command: the scripts of this folder as subcommands."""

from __future__ import annotations

import click

import resefa_plugin
from resefa_plugin.scripts.doctor import doctor
from resefa_plugin.scripts.edit import edit
from resefa_plugin.scripts.evaluate import evaluate
from resefa_plugin.scripts.export import export
from resefa_plugin.scripts.factorize import factorize
from resefa_plugin.scripts.info import info
from resefa_plugin.scripts.install import install
from resefa_plugin.scripts.studio import studio


@click.group(context_settings={'help_option_names': ['-h', '--help']})
@click.version_option(resefa_plugin.__version__, prog_name='resefa')
def main() -> None:
    """Find directions of a GAN's latent space that change one region of a picture and leave the rest alone."""


for command in (factorize, edit, studio, evaluate, export, info, install, doctor):
    main.add_command(command)


if __name__ == '__main__':
    main()
