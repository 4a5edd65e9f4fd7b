"""A session, a studio and a page of it, with a small generator."""

from __future__ import annotations

import pytest

from resefa_plugin.studio.actions import Studio
from tests.helpers.studio_pages import Page, make_session
from tests.helpers.toys import TinyHook


@pytest.fixture
def session():
    return make_session(TinyHook())


@pytest.fixture
def studio():
    studio = Studio(TinyHook(), ['--network=tiny'])
    yield studio
    studio.close()


@pytest.fixture
def page(studio):
    page = Page(studio)
    page.settle()
    return page
