"""The blueprints: a whole template as one node, dropped from the page's node search."""

import pytest
from workflow import every_node

from support.templates import BLUEPRINTS, FOLDERS, as_prompt, between_files, read, refused

SOCKETS = {
    "Talking portrait": {"portrait": "IMAGE", "recording": "AUDIO"},
    "Long take": {"portrait": "IMAGE", "recording": "AUDIO"},
    "Two speakers": {"picture": "IMAGE", "recording": "AUDIO"},
    "Dub a video": {"video": "VIDEO", "recording": "AUDIO"},
}


@pytest.fixture(params=BLUEPRINTS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def blueprint(path) -> dict:
    return read(path)


def test_it_is_one_node_from_media_to_a_video(path, blueprint):
    (box,), (graph,) = blueprint["nodes"], blueprint["definitions"]["subgraphs"]
    assert box["type"] == graph["id"] and box["title"] == graph["name"] == path.stem
    assert {slot["name"]: slot["type"] for slot in box["inputs"] if "widget" not in slot} == SOCKETS[
        path.stem.partition(" (")[0]
    ]
    assert [(slot["name"], slot["type"]) for slot in box["outputs"]] == [("video", "VIDEO")]


def test_it_shows_its_prompt_its_seed_and_every_model_that_it_loads(blueprint):
    (box,) = blueprint["nodes"]
    shown = {slot["name"] for slot in box["inputs"] if "widget" in slot}
    assert {"prompt", "seed"} <= shown
    places = {(int(node), widget) for node, widget in box["properties"]["proxyWidgets"]}
    assert len(places) == len(shown)
    widgets = {(node["id"], slot["name"]) for node in every_node(blueprint) for slot in node["inputs"] if "widget" in slot}
    assert places <= widgets
    landmarks = "LoadMediaPipeFaceLandmarker"  # there is one only
    loaders = {
        (node["id"], name) for node in every_node(blueprint) for kind, name in FOLDERS if node["type"] == kind != landmarks
    }
    assert len(loaders) == 6 and loaders <= places


def test_the_search_finds_it_by_what_people_call_this(path, blueprint):
    """By words of its file's name: the page is told no others."""
    assert "lip sync" in path.stem
    extra = blueprint["extra"]
    assert extra["BlueprintDescription"].endswith(".")
    assert {"lip sync", "talking head", "avatar", "dubbing"} <= {*extra["BlueprintSearchAliases"]}


def test_the_host_accepts_it_between_files_and_save_video(host, blueprint):
    prompt = as_prompt(host, between_files(blueprint))
    assert refused(prompt) == {}
    media = {node["class_type"] for node in prompt.values()} & {"LoadImage", "LoadAudio", "LoadVideo"}
    assert len(media) == 2
