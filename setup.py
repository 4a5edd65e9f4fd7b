"""Packaging of resefa_plugin: region-based semantic factorization of pre-trained GANs."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent

# third_party/ and patches/ stand at the top level so that they are easy to find, but install inside the package:
# a host repository may have folders of the same names.
OUTSIDE = {'resefa_plugin.third_party': 'third_party', 'resefa_plugin.patches': 'patches'}
INIT = (HERE / 'resefa_plugin' / '__init__.py').read_text(encoding='utf-8')
VERSION = re.search(r"^__version__ = '(.+?)'", INIT, re.MULTILINE)[1]

setup(
    name='resefa_plugin',
    version=VERSION,
    description='Local edit directions for any pre-trained GAN: mark a region, get sliders that change only that.',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='MIT',
    license_files=['LICENSE', 'NOTICE.md'],
    python_requires='>=3.10',
    packages=find_packages(include=['resefa_plugin', 'resefa_plugin.*'])
    + [f'resefa_plugin.{name}' for name in find_packages(include=['patches', 'patches.*', 'third_party'])],
    package_dir=OUTSIDE,
    package_data={'resefa_plugin': ['py.typed'], 'resefa_plugin.report': ['style.css', 'viewer.js', 'templates/*.j2'],
                  'resefa_plugin.studio': ['assets/*']},
    install_requires=[
        'torch>=2.4',    # forward-mode rules of leaky_relu and convolution under vmap
        'numpy>=1.24',
        'scipy>=1.10',
        'click>=8.1',
        'threadpoolctl>=3.0',  # scipy's threads and torch's, which stand in each other's way
        'tqdm>=4.60',
        'pillow>=10.1',  # ImageFont.load_default(size)
        'ninja',         # the host repositories' CUDA plugins
        'jinja2>=3.1',   # the page of the report; torch needs it anyway
        'matplotlib>=3.8',  # plots are not ours to draw; legends outside of the panels (3.7), types (3.8)
        'typing_extensions>=4.4',  # `override`, which typing has from Python 3.12 on
    ],
    extras_require={
        'biggan': ['pytorch-pretrained-biggan==0.1.1'],
        'dev': [
            'pytest>=7.4',
            'pytest-xdist>=3.5',    # --no-loadscope-reorder
            'hypothesis>=6.100',    # draws the damaged files of tests/fuzz
            'requests',             # the official checkouts import it
            'lightning>=2.4',       # trains a toy with the callback of resefa_plugin.integrations
            'pytorch-lightning>=2.4',
            'nbformat>=5.9',        # these three run the notebook of examples/
            'nbclient>=0.9',
            'ipykernel>=6.29',
            'playwright>=1.40',     # drives Debian's chromium through the studio
            'axe-playwright-python>=0.1.4',  # axe, which looks for what keeps people out of the studio
            'coverage[toml]>=7.10',  # measures processes that tests start, too
            'mypy>=1.15',
            'ruff>=0.12',
        ],
        'docs': [f'{name}; python_version >= "3.11"' for name in (  # what mkdocs-material and mkdocstrings need
            'mkdocs>=1.6,<2',           # what mkdocs-material takes
            'mkdocs-material>=9.6',
            'mkdocstrings[python]>=1.0',  # reads what the package exports without importing it
            'mkdocs-click>=0.9',        # titles that name the whole command
            'latex2mathml>=3.77',       # mathematics without scripts
        )],
        'ui': ['gradio>=6.14,<7'],  # 6.14: gr.HTML takes a template and js_on_load
        'video': ['imageio-ffmpeg>=0.5'],
    },
    entry_points={'console_scripts': ['resefa=resefa_plugin.scripts.main:main']},
)
