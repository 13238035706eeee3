"""Every template, app and blueprint runs to a video from the page's Run button, with the small models.

The templates from the graph's button in the frontend that ComfyUI pins; some from their app's in the newest one, in Chinese.
With FANTASYTALKING_PAGES=all both in both (CONTRIBUTING.md).
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from run import describe
from settings import settings

from support.page import Page
from support.page_fixtures import ALL, DEMO, NEWEST, PINNED
from support.templates import BASIC, BLUEPRINTS, DUB, LARGER, LONG, SPEAKERS, TEMPLATES, TRY, read

RUNNABLE = [path for path in TEMPLATES if path.stem != DUB]
"""All but a dub, which needs the weights of the face landmarker, and nobody has small ones."""
GRAPH, APP = "graph", "app"
WAYS = list(itertools.product((PINNED, NEWEST), (GRAPH, APP))) if ALL else [(PINNED, GRAPH), (NEWEST, APP)]
NEW = (BASIC, LONG)
"""What runs in the newest frontend as well."""
RUNS = [(way, path) for way in WAYS for path in RUNNABLE if ALL or way[0] == PINNED or path.stem in NEW]
LANGUAGES = {PINNED: "en", NEWEST: "zh"}
SIZE = (1280, 720)
FRAMES, STEPS = 17, 2
USUAL = "96x96, 17 frames at 23 per second"
EXPECTED = {
    LARGER: "192x192, 33 frames at 46 per second",  # twice as large, one more frame between any two
    SPEAKERS: "192x96, 17 frames at 23 per second",  # two people beside each other
    TRY: "384x384, 17 frames at 23 per second",  # four times as large, to be seen
}


@pytest.fixture(scope="module")
def pages(browser, server) -> Iterator[Callable[[str, str], Page]]:
    """Opens the page of a frontend for templates as graphs, once, or as apps, anew: an app over another one is a broken view."""
    graphs: dict[str, Page] = {}
    with ExitStack() as stack:

        def opened(frontend: str, way: str) -> Page:
            if way == GRAPH and frontend in graphs:
                return graphs[frontend]
            running, language = server(DEMO, frontend), LANGUAGES[frontend]
            page = Page(browser, running.address, SIZE, Comfy__Locale=language, Comfy__VueNodes__Enabled=False)
            stack.callback(page.close)
            page.base, page.way = running.base, way
            if way == GRAPH:
                graphs[frontend] = page
            return page

        yield opened


@pytest.fixture
def page(request, pages, picture) -> Page:
    page = pages(*request.param)
    page.do("closeAll")
    picture(page)
    return page


def in_demo_size(page: Page, workflow: dict) -> None:
    ours = settings(workflow)
    quick = {"FantasyTalkingEncodeSpeech": {"length": FRAMES}}
    for kind in ("FantasyTalkingSampler", "FantasyTalkingRender"):
        quick[kind] = {**ours.get(kind, {}), "steps": STEPS}
    page.do("setAll", {**ours, **quick})


def video(page: Page, prompt: str) -> str:
    """What a run has saved, when it is done."""
    history = page.wait(prompt)
    assert history["status"]["status_str"] == "success", history["status"]["messages"][-1]
    files = [file for output in history["outputs"].values() for file in output.get("images", [])]
    saved = [file for file in files if file["filename"].endswith(".mp4") and file["type"] == "output"]
    (said,) = {describe(page.base / "output" / file["subfolder"] / file["filename"]) for file in saved}
    return said


@pytest.mark.parametrize(("page", "path"), RUNS, indirect=["page"], ids=[f"{path.stem}-{'-'.join(way)}" for way, path in RUNS])
def test_a_template_runs_to_a_video(page, path):
    page.open_template(path.stem)
    page.show(app=False)
    in_demo_size(page, read(path))
    page.show(app=page.way == APP)
    page.skip_tour()
    assert video(page, page.run()).startswith(EXPECTED.get(path.stem, USUAL))


@pytest.mark.parametrize("page", [way for way in WAYS if way[0] == PINNED or ALL], indirect=True, ids="-".join)
@pytest.mark.parametrize("word", ["Talking", "Long", "Two"])
def test_a_blueprint_runs_to_a_video(page, word):
    (path,) = (path for path in BLUEPRINTS if path.stem.startswith(word))
    page.find_node(word, path.stem)
    page.do("wire")
    in_demo_size(page, read(path))
    assert video(page, page.run()).startswith(EXPECTED[SPEAKERS] if word == "Two" else USUAL)


@pytest.mark.parametrize("frontend", [PINNED, NEWEST])
def test_from_an_empty_page_to_a_running_app_it_is_a_few_clicks(browser, server, picture, frontend):
    """The list of templates, the pack, the card, Run; and Skip, where the page offers a tour."""
    page = Page(browser, server(DEMO, frontend).address, SIZE, Comfy__Locale="en")
    picture(page, close=True)
    assert page.clicks_to_a_running_app(TRY) <= 8
    page.interrupt()  # or the next test waits for all of its steps


@pytest.mark.parametrize("page", WAYS, indirect=True, ids="-".join)
def test_what_a_node_in_a_box_warns_of_is_a_message_of_the_page(page):
    """Nobody sees the node there, nor any node in app mode."""
    (path,) = (path for path in RUNNABLE if path.stem == SPEAKERS)
    page.open_template(path.stem)
    page.show(app=False)
    in_demo_size(page, read(path))
    page.do("setAll", {"FantasyTalkingEncodeSpeech": {"fps": 29.0}})
    page.show(app=page.way == APP)
    page.skip_tour()
    page.run()
    assert page.reads("The model was trained at 23 fps: at 29 people", 60)
    assert page.do("readable", "Two voices › ")
    page.interrupt()
