"""Links of the documentation site: sources are written for whoever browses the repository, and point into it.

Some Markdown files outside of docs/ are pages, too (`PAGES`). A link to a page becomes one within the site; what else a
page links to, such as a picture or a notebook, is copied into the site. mkdocs calls the functions named `on_...`.
"""

from __future__ import annotations

import logging
import pathlib
import posixpath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from mkdocs.structure.files import File, Files, InclusionLevel
from typing_extensions import override

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

# Files of the repository -> where they are in the site.
PAGES = {
    'CHANGELOG.md': 'changelog.md',
    'CONTRIBUTING.md': 'contributing.md',
    'NOTICE.md': 'notice.md',
    'SECURITY.md': 'security.md',
    'benchmarks/README.md': 'benchmarks.md',
    'examples/space/README.md': 'space.md',
    'tests/README.md': 'tests.md',
}
OTHER_NAMES = {'README.md': 'index.md'}  # a page says what it says
COPIES = 'files'  # the folder of the site for what is linked to and is no page

log = logging.getLogger('mkdocs.hooks.links')  # its warnings end `mkdocs build --strict`


def place(target: str, root: pathlib.Path, docs: str) -> str | None:
    """Where in the site a file or folder of the repository is; None if it is a file that is no page.

    Args:
        target: its path in the repository.
        docs: the path of the folder of pages in it.

    Raises ValueError: there is no such place.
    """
    if (root / target).is_dir():
        readme = posixpath.join(target, 'README.md')
        if readme not in PAGES and readme not in OTHER_NAMES:
            raise ValueError(f"'{target}' is a folder without a page: link to a file in it, or add its README.md to "
                             'PAGES in docs/site/links.py')
        target = readme
    if target in PAGES or target in OTHER_NAMES:
        return PAGES.get(target) or OTHER_NAMES[target]
    if target.startswith(f'{docs}/'):
        return target.removeprefix(f'{docs}/')
    if target.startswith('..') or not (root / target).is_file():
        raise ValueError(f"'{target}' is not in the repository")
    if target.endswith('.md'):
        raise ValueError(f"'{target}' is no page of the site: add it to PAGES in docs/site/links.py")
    return None


class _Links(Treeprocessor):
    """Turns links of a page, whose place in the repository is `source`, into those of its place in the site."""

    def __init__(self, md: Markdown, extension: LinksExtension):
        super().__init__(md)
        self.extension = extension

    @override
    def run(self, root: Element) -> None:
        for element in root.iter():
            for name in ('href', 'src'):
                if link := element.get(name):
                    element.set(name, self.extension.rewritten(link))


class LinksExtension(Extension):
    """Rewrites links while a page is rendered.

    Args:
        root: of the repository.
        docs: path of the folder of pages in it.
    """

    def __init__(self, root: pathlib.Path, docs: str, config: MkDocsConfig):
        super().__init__()
        self.root, self.docs, self.site_config = root, docs, config
        self.page: File | None = None
        self.files: Files | None = None

    @override
    def extendMarkdown(self, md: Markdown) -> None:
        md.treeprocessors.register(_Links(md, self), 'repository_links', 5)  # before mkdocs looks at them, at 0

    def rewritten(self, link: str) -> str:
        """The link as the site has it; a warning, which ends a strict build, where it leads nowhere."""
        parts = urlsplit(link)
        source = self.page and self.page.abs_src_path
        if parts.scheme or parts.netloc or not parts.path or parts.path.startswith('/') or not source:
            return link
        folder = pathlib.Path(source).parent.relative_to(self.root).as_posix()
        target = posixpath.normpath(posixpath.join(folder, unquote(parts.path)))
        try:
            uri = place(target, self.root, self.docs) or self._copied(target)
        except ValueError as error:
            log.warning("%s has a link '%s': %s", pathlib.Path(source).relative_to(self.root), link, error)
            return link
        relative = posixpath.relpath(uri, posixpath.dirname(self.page.src_uri))
        return parts._replace(path=relative).geturl()

    def _copied(self, target: str) -> str:
        """The place of a copy of a file, which is added to the site if it is not there yet."""
        uri = f'{COPIES}/{target}' if pathlib.PurePosixPath(target).suffix else f'{COPIES}/{target}.txt'
        if self.files.get_file_from_path(uri) is None:
            self.files.append(File.generated(self.site_config, uri, abs_src_path=str(self.root / target),
                                             inclusion=InclusionLevel.INCLUDED))
        return uri


def on_config(config: MkDocsConfig) -> None:
    """Takes the extension into the configuration."""
    root = pathlib.Path(config.config_file_path).parent
    config.markdown_extensions.append(
        LinksExtension(root, pathlib.Path(config.docs_dir).relative_to(root).as_posix(), config))


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the pages whose files are outside of the folder of pages."""
    root = pathlib.Path(config.config_file_path).parent
    for path, uri in PAGES.items():
        if (root / path).is_file():
            files.append(File.generated(config, uri, abs_src_path=str(root / path)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Says which page is rendered next."""
    extension, = (each for each in config.markdown_extensions if isinstance(each, LinksExtension))
    extension.page, extension.files = page.file, files
