"""Templates, their apps and the blueprints in the page, as a newcomer opens them: without a model file.

A template is opened as a click in the list opens it. Each two of frontend, canvas, window and language meet in a default run;
FANTASYTALKING_PAGES=all lets all four meet (CONTRIBUTING.md).
"""

import itertools
from collections.abc import Iterator

import pytest

from support.page import Page
from support.page_fixtures import ALL, EMPTY, NEWEST, PINNED
from support.templates import BASIC, BLUEPRINTS, OWN, TEMPLATES, read

SIZES = {"small": (1280, 720), "large": (1600, 900)}
CANVASES = {"classic": False, "nodes2": True}
PAIRS = [  # any two of these four things in every combination, in as few rows as there can be
    (PINNED, "classic", "large", "en"),
    (PINNED, "nodes2", "small", "zh"),
    (NEWEST, "classic", "small", "zh"),
    (NEWEST, "nodes2", "large", "zh"),
    (NEWEST, "nodes2", "small", "en"),
]
COMBINATIONS = list(itertools.product((PINNED, NEWEST), CANVASES, SIZES, ("en", "zh"))) if ALL else PAIRS
CLASSIC = [combination for combination in COMBINATIONS if combination[1] == "classic"]
"""For what does not depend on how the canvas draws its nodes: apps, the search, what has to be downloaded."""
LEGIBLE = 8
"""Pixels of the screen: below it the page itself draws no text on its canvas (its setting MinFontSizeForLOD)."""
NOTES = {"small": 6.5, "large": 8}
"""The same for what stands below a note's heading: the page's own size of such texts, 10 pixels as it scales the template."""
MODEL_FILES = (".safetensors", ".ckpt", ".pth", ".pt", ".onnx", ".bin", ".gguf")
GIGABYTES = {  # as published
    "wan2.1_i2v_480p_14B_fp8_scaled.safetensors": 16.4,
    "fantasytalking_fp16.safetensors": 1.7,
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors": 6.7,
    "clip_vision_h.safetensors": 1.3,
    "wan_2.1_vae.safetensors": 0.3,
    "wav2vec2-base-960h.safetensors": 0.4,
}
WORDS = {"Talking": "avatar", "Long": "infinitetalk", "Two": "lip sync", "Dub": "dubbing"}
"""What a newcomer looks for, and the first word of the blueprint that is found."""


@pytest.fixture(scope="module", params=COMBINATIONS, ids="-".join)
def view(request, browser, server) -> Iterator[Page]:
    """The page without any model, its message about that closed."""
    frontend, canvas, size, language = request.param
    settings = {"Comfy__VueNodes__Enabled": CANVASES[canvas], "Comfy__Locale": language}
    page = Page(browser, server(EMPTY, frontend).address, SIZES[size], **settings)
    page.size, page.canvas = size, canvas
    page.without_errors()
    yield page
    page.close()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_and_its_app_open_and_can_be_read(view, picture, path):
    picture(view)
    view.open_template(path.stem)
    view.show(app=False)
    assert [*too_small(view), *out_of_sight(view), *overlapping(view)] == []
    assert missing(view) == []
    if view.canvas == "classic":
        view.show(app=True)
        fields = view.do("fields")
        assert len(fields) == len(read(path)["extra"]["linearData"]["inputs"]) >= 4
        assert all(field["text"] and field["pixels"] >= LEGIBLE for field in fields)
    assert view.errors == []


def too_small(page: Page) -> Iterator[str]:
    """Titles and notes that can't be read; a note's heading is what to do first. No note has to be scrolled."""
    notes = page.do("notes")
    if len(notes) != 2:
        yield f"{len(notes)} notes are drawn"
    sizes = [(one["title"], one["pixels"], LEGIBLE) for one in (*page.do("titles"), *page.do("groups"))]
    sizes += [(note["text"], note["heading"], LEGIBLE) for note in notes]
    sizes += [(note["text"], note["pixels"], NOTES[page.size]) for note in notes]
    yield from (f"{text}: {pixels:.1f} pixels" for text, pixels, least in sizes if round(pixels, 1) < least)
    yield from (f"{note['text']} has to be scrolled" for note in notes if note["hidden"] > 4)


def out_of_sight(page: Page) -> Iterator[str]:
    left, top, right, bottom = page.do("canvas")
    for node in page.do("titles"):
        a, b, c, d = node["whole"]
        if a < left or b < top or c > right or d > bottom:
            yield f"{node['title']} is outside of the window"
        if not node["free"]:
            yield f"{node['title']} is covered by the page's own bars"


def overlapping(page: Page) -> Iterator[str]:
    """In Nodes 2.0 a node is as high as what is in it, whatever the file says."""
    for one, other in itertools.combinations(page.do("titles"), 2):
        (a, b, c, d), (e, f, g, h) = one["whole"], other["whole"]
        if min(c, g) - max(a, e) > 1 and min(d, h) - max(b, f) > 1:
            yield f"{one['title']} lies over {other['title']}"


def missing(page: Page) -> list[str]:
    """What is wrong with the page's list of what is missing: model files, all of them, each with its address and folder."""
    found, folders = page.do("missing"), page.do("folders")
    listed = {model["name"]: model for model in found["models"]}
    named = {value for value in page.do("values") if value.endswith(MODEL_FILES)}
    faults = [f"{found['nodes']} nodes are missing"] if found["nodes"] else []
    faults += [f"{media['name']} is missing" for media in found["media"]]
    faults += [f"{name} is not in the list" for name in named - listed.keys()]
    faults += [f"no node names {name}" for name in listed.keys() - named]
    for name in listed.keys() - {OWN}:
        if not listed[name]["url"].startswith("https://huggingface.co/") or listed[name]["directory"] not in folders:
            faults.append(f"{name} comes from {listed[name]['url']} into {listed[name]['directory']}")
    return faults


@pytest.mark.parametrize("view", CLASSIC, indirect=True, ids="-".join)
@pytest.mark.parametrize("word", WORDS)
def test_a_blueprint_is_found_and_can_be_read(view, picture, word):
    picture(view)
    (name,) = (path.stem for path in BLUEPRINTS if path.stem.startswith(word))
    view.find_node(WORDS[word], name)
    (box,) = view.do("titles")
    assert (box["title"], box["pixels"] >= LEGIBLE) == (name, True)


@pytest.mark.parametrize("view", CLASSIC[:1], indirect=True, ids="-".join)
def test_the_first_template_downloads_less_than_30_gigabytes(view):
    view.open_template(BASIC)
    assert sum(GIGABYTES[model["name"]] for model in view.do("missing")["models"]) < 30
