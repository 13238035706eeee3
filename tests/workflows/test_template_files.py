"""What the templates are as files: how they were made, their notes, the model files that they ask for, what app mode shows."""

import re
from pathlib import Path

import pytest
from PIL import Image
from workflow import NOTES, every_node

from support import ROOT
from support.templates import (
    BASIC,
    BLUEPRINTS,
    DUB,
    FEW_STEPS,
    FOLDERS,
    IDENTITY,
    LARGER,
    LONG,
    MEDIA,
    MOTION,
    OWN,
    SMALL_CARD,
    SPEAKERS,
    TEMPLATES,
    TRY,
    as_prompt,
    built,
    graphs,
    info,
    named,
    read,
    skip_without_newer_nodes,
    unmuted,
)

WAV2VEC = "wav2vec2-base-960h.safetensors"
FACES = "mediapipe_face_fp32.safetensors"
FACE_FINDERS = ("FantasyTalkingCropFace", "FantasyTalkingSpeakerMasks")
"""They load the landmark model without a widget for it."""
CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.fixture(params=TEMPLATES, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def workflow(path) -> dict:
    return read(path)


def notes_of(graph: dict) -> dict[str, str]:
    return {node["title"]: node["widgets_values"][0] for node in graph["nodes"] if node["type"] in NOTES}


def test_all_are_there():
    names = {BASIC, TRY, IDENTITY, MOTION, FEW_STEPS, SMALL_CARD, LARGER, LONG, SPEAKERS, DUB}
    assert {path.stem for path in TEMPLATES} == names
    whole = {path.stem.partition(" (")[0] for path in BLUEPRINTS}  # behind it are words for the page's search
    assert whole == {"Talking portrait", "Long take", "Two speakers", "Dub a video"}


def test_they_and_the_blueprints_are_what_their_source_makes(host):
    """After a change: python dev.py run sources/templates/build.py."""
    skip_without_newer_nodes(named(LARGER), host.nodes)
    made = built(host)
    assert made.keys() == {path.relative_to(ROOT).as_posix() for path in (*TEMPLATES, *BLUEPRINTS)}
    changed = [name for name, text in made.items() if (ROOT / name).read_text(encoding="utf-8") != text]
    assert changed == []


def test_ids_of_nodes_and_links_are_unique_in_all_of_a_file(workflow):
    nodes = [node["id"] for node in every_node(workflow)]
    inside = [link["id"] for name, graph in graphs(workflow).items() if name for link in graph["links"]]
    links = [link[0] for link in workflow["links"]] + inside
    for ids, last in ((nodes, workflow["last_node_id"]), (links, workflow["last_link_id"])):
        assert len(set(ids)) == len(ids) and max(ids) <= last


def test_its_picture_for_the_list_of_templates_moves(path):
    """The page asks for a .jpg and shows whatever it is."""
    picture = path.with_suffix(".jpg")
    with Image.open(picture) as image:
        assert (image.format, image.is_animated) == ("WEBP", True) and min(image.size) >= 400
    assert picture.stat().st_size < 500_000


# ---------------------------------------------------------------------------------------------------------------- notes


def test_it_is_explained_in_english_and_in_chinese(workflow):
    notes = notes_of(workflow)
    assert notes.keys() == {"Read me", "说明"}
    assert not CHINESE.search(notes["Read me"]) and CHINESE.search(notes["说明"])
    quoted = [sorted(set(re.findall("`([^`]+)`", text))) for text in notes.values()]
    assert quoted[0] == quoted[1]


def test_what_its_notes_quote_is_there(workflow):
    """Inputs, or what is chosen in them."""
    known = {slot["name"] for node in every_node(workflow) for slot in node["inputs"]}
    known |= {
        value
        for node in every_node(workflow)
        if node["type"] not in NOTES
        for value in node["widgets_values"]
        if isinstance(value, str)
    }
    for text in notes_of(workflow).values():
        assert set(re.findall("`([^`]+)`", text)) <= known


# --------------------------------------------------------------------------------------------------------- model files


def loaded(host, workflow: dict) -> dict[str, set[tuple[str, str]]]:
    """The model files that each node loads, muted ones included: their folders and names."""
    found: dict[str, set[tuple[str, str]]] = {}
    for key, node in as_prompt(host, unmuted(workflow)).items():
        files = {
            (folder, node["inputs"][name])
            for (kind, name), folder in FOLDERS.items()
            if kind == node["class_type"] and name in node["inputs"]
        }
        if node["class_type"] in FACE_FINDERS:
            files.add(("detection", FACES))
        if files := {(folder, name) for folder, name in files if name != OWN}:
            found[key.rpartition(":")[2]] = files
    return found


def test_every_model_file_has_its_address_on_the_node_that_loads_it(host, workflow):
    """So the page offers it for download."""
    offered = {str(node["id"]): node["properties"]["models"] for node in every_node(workflow) if "models" in node["properties"]}
    assert loaded(host, workflow) == {
        key: {(model["directory"], model["name"]) for model in models} for key, models in offered.items()
    }
    for model in (model for models in offered.values() for model in models):
        assert model["url"].startswith("https://huggingface.co/") and "/resolve/" in model["url"]
        assert model["url"].endswith("/model.safetensors" if model["name"] == WAV2VEC else f"/{model['name']}")


def listed(workflow: dict) -> dict[tuple[str, str], str]:
    """The folders, names and sizes of the files that the note beside the loaders names."""
    (note,) = (text for graph in graphs(workflow).values() for title, text in notes_of(graph).items() if title == "Note: files")
    return {
        (folder, name): size
        for folder, name, size in re.findall(r"^- `(\w+)`: \[([^]]+)\]\([^)]+\), ([\d.]+ [GM]B)", note, re.M)
    }


@pytest.mark.parametrize("path", [path for path in TEMPLATES if path.stem != TRY], ids=lambda path: path.stem)
def test_the_note_beside_the_loaders_names_every_model_file(host, path):
    workflow = read(path)
    assert listed(workflow).keys() == set.union(*loaded(host, workflow).values())


def test_the_first_template_is_less_than_30_gigabytes_to_download():
    gigabytes = {"GB": 1.0, "MB": 0.001}
    sizes = [size.split() for size in listed(named(BASIC)).values()]
    assert len(sizes) == 6
    assert sum(float(number) * gigabytes[unit] for number, unit in sizes) < 30


def test_one_template_asks_for_no_file(host):
    assert loaded(host, named(TRY)) == {}


def test_pictures_recordings_and_videos_are_the_artists_to_choose(workflow):
    """A name in there would be missing on every other machine."""
    for node in every_node(workflow):
        if node["type"] in {kind for kind, _ in MEDIA}:
            assert node["widgets_values"][0] == ""


# ------------------------------------------------------------------------------------------------------------ app mode

ASKED = {DUB: {"video", "recording", "prompt", "seed"}, SPEAKERS: {"picture of two", "recording", "prompt", "turns", "seed"}}
RESULTS = {LONG: ["FantasyTalkingRender"]}


def test_app_mode_asks_for_what_an_artist_brings_and_shows_the_video(host, path, workflow):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    shown = []
    for node, widget in workflow["extra"]["linearData"]["inputs"]:
        slots = {slot["widget"]["name"]: slot for slot in nodes[node]["inputs"] if "widget" in slot}
        assert slots[widget]["link"] is None
        shown.append(slots[widget].get("label", widget))
    assert len(set(shown)) == len(shown)
    assert set(shown) >= ASKED.get(path.stem, {"portrait", "recording", "prompt", "seed"})
    results = [nodes[node]["type"] for node in workflow["extra"]["linearData"]["outputs"]]
    assert results == RESULTS.get(path.stem, ["SaveVideo"])
    assert all(info(host.nodes[kind])["output_node"] for kind in results)
