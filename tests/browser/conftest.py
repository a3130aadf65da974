"""A real browser and real pages for it; without one, tests skip and say what to install."""

import os
import shutil
from pathlib import Path

import pytest
from made import HOSTILE, a_whole_comparison, a_wide_comparison
from test_inspection_pages import an_inspection

from initbench.report.folder import write_folder, write_inspection

INSTALL = "pip install 'initbench[browser]'"
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason=f"Playwright is not installed: {INSTALL}")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium (or your system's way)")
    # Chromium's sandbox does not start for root, which containers are.
    flags = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open a file in a window of its own without a network; the page keeps what it asked for and what it said."""
    contexts = []

    def opened(path, **options):
        context = chromium.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.said = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
        page.goto(Path(path).as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


def _written(tmp_path_factory, name, comparison):
    folder = tmp_path_factory.mktemp(name)
    write_folder(folder, comparison)
    return folder / "report.html"


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    return _written(tmp_path_factory, "report", a_whole_comparison())


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    return _written(tmp_path_factory, "hostile", a_whole_comparison(hostile=True))


@pytest.fixture(scope="session")
def ten_by_ten(tmp_path_factory):
    return _written(tmp_path_factory, "wide", a_wide_comparison(schemes=10, seeds=10))


@pytest.fixture(scope="session")
def inspection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspection")
    write_inspection(folder, an_inspection((*HOSTILE, "zeros")))
    return folder / "report.html"
