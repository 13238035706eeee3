"""Fixtures of tests/page: a browser, servers with one or the other frontend, and a picture of the page where a test fails."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import ROOT

PICTURES = ROOT / ".host/page_screenshots"
EMPTY, DEMO = "empty", "demo"
"""A server without any model file and without pictures and recordings to load; one with the demo's."""
PINNED, NEWEST = "pinned", "newest"
"""The page's own code: what this ComfyUI asks for, and what is published."""
ALL = os.environ.get("FANTASYTALKING_PAGES") == "all"
"""Whether everything meets everything, instead of what fits into three minutes."""


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """The system's Chromium. Of one file only: while it runs, no other event loop can run in this thread."""
    pytest.importorskip("playwright", reason="Playwright is not installed: pip install -r requirements-dev.txt")
    from support import page

    if not page.chromium():
        pytest.skip("there is no Chromium on this machine: install chromium to test the page")
    with page.browser() as opened:
        yield opened


def lay_out(base: Path, kind: str) -> None:
    """The folders of a server."""
    demo = Path(os.environ["FANTASYTALKING_BASE"])
    for folder in ("input", "output", "user/default", "models"):
        (base / folder).mkdir(parents=True)
    (base / "custom_nodes").symlink_to(demo / "custom_nodes")
    (base / "user/default/comfy.settings.json").write_text('{"Comfy.TutorialCompleted": true}')
    if kind == EMPTY:
        return
    for folder in (demo / "models").iterdir():
        if folder.is_dir():
            (base / "models" / folder.name).mkdir()
            for file in folder.iterdir():
                (base / "models" / folder.name / file.name).symlink_to(file)
    for file in filter(Path.is_file, (demo / "input").iterdir()):
        shutil.copyfile(file, base / "input" / file.name)  # the host refuses links that lead out of its folder


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory) -> Iterator[Callable]:
    """Starts a ComfyUI of a kind with a frontend, once. Skips where there is no such frontend."""
    from host import ComfyUI

    from support import frontends

    running = {}
    with ExitStack() as stack:

        def start(kind: str, frontend: str = PINNED) -> ComfyUI:
            if (kind, frontend) not in running:
                options = []
                if frontend == NEWEST:
                    try:
                        options = ["--front-end-root", str(frontends.newest(ROOT / ".host/frontends"))]
                    except frontends.NoFrontend as error:
                        pytest.skip(str(error))
                base = tmp_path_factory.mktemp(kind)
                lay_out(base, kind)
                running[kind, frontend] = stack.enter_context(ComfyUI(base / "server.log", base=base, options=options))
            return running[kind, frontend]

        yield start


@pytest.fixture
def picture(request) -> Iterator[Callable]:
    """Given a page, keeps how it looks if the test fails, or always where FANTASYTALKING_SCREENSHOTS is set; closes it then."""
    pages, closing = [], ExitStack()

    def look_at(page, close: bool = False) -> None:
        pages.append(page)
        if close:
            closing.callback(page.close)

    yield look_at
    failed = getattr(request.node, "failed", False)
    if failed or os.environ.get("FANTASYTALKING_SCREENSHOTS"):
        PICTURES.mkdir(parents=True, exist_ok=True)
        for number, page in enumerate(pages):
            name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in request.node.name)
            path = PICTURES / f"{name}{number or ''}.png"
            page.page.screenshot(path=path)
            if failed:
                print(f"The page looked like this: {path}")
    closing.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    item.failed = getattr(item, "failed", False) or outcome.get_result().failed
