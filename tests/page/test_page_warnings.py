"""What a node warns of is read in the page also where nobody sees the node: in a closed box, and in app mode."""

from collections.abc import Iterator

import pytest
from settings import settings

from support.page import Page
from support.page_fixtures import DEMO, NEWEST, PINNED
from support.templates import BASIC, SPEAKERS, TEMPLATES, read


@pytest.fixture(scope="module", params=[PINNED, NEWEST])
def view(request, browser, server) -> Iterator[Page]:
    page = Page(browser, server(DEMO, request.param).address, (1280, 720), Comfy__Locale="en", Comfy__VueNodes__Enabled=False)
    yield page
    page.close()


@pytest.mark.parametrize(
    ("template", "app", "place", "fps"),  # another fps each time: what has run already does not warn again
    [(SPEAKERS, False, "Two voices › ", 29), (SPEAKERS, True, "Two voices › ", 30), (BASIC, True, "Encode Speech", 31)],
    ids=["box", "box of an app", "app"],
)
def test_a_warning_of_a_node_that_is_not_seen_is_a_message_of_the_page(view, picture, template, app, place, fps):
    picture(view)
    (path,) = (path for path in TEMPLATES if path.stem == template)
    view.interrupt()
    view.open_template(template)
    view.show(app=False)
    view.do("setAll", {**settings(read(path)), "FantasyTalkingEncodeSpeech": {"fps": fps, "length": 17}})
    view.show(app=app)
    view.skip_tour()
    view.run()
    assert view.reads(f"The model was trained at 23 fps: at {fps} people", 60)
    assert view.do("readable", place)
