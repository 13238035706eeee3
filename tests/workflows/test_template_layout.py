"""Where the nodes of templates and blueprints lie, in their subgraphs, too."""

import itertools

import pytest
from workflow import MUTED, NOTES

from support.templates import BLUEPRINTS, TEMPLATES, graphs, read

TITLE = 30
"""Pixels of a node's title, above its position."""
SHOWN = {
    "FantasyTalkingAdapterLoader": 108,
    "FantasyTalkingCropFace": 334,
    "FantasyTalkingDiTLoader": 156,
    "FantasyTalkingEncodeSpeech": 216,
    "FantasyTalkingPreviewSpeech": 300,
    "FantasyTalkingRender": 1100,
}
"""Heights to which the page lets a node grow, downwards, for the texts and pictures of a run."""
WINDOW, FILLED, MARGIN = (1280, 720), 0.75, 20
"""The smallest window; the part of it that the page fills with a template chosen from its list; around all nodes, pixels."""
TITLE_FONT, LEGIBLE = 12, 8
"""Pixels of a title in Nodes 2.0, and on the screen: below that the page itself draws no text."""
LEAST_WIDTH = 225
"""Nodes 2.0 draws no node narrower than this."""


def rectangle(node: dict) -> tuple[float, float, float, float]:
    """Left, top with the title, right and bottom."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


@pytest.fixture(params=[*TEMPLATES, *BLUEPRINTS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def workflow(request) -> dict:
    return read(request.param)


def test_no_two_nodes_overlap(workflow):
    for name, graph in graphs(workflow).items():
        for one, other in itertools.combinations(graph["nodes"], 2):
            (a, b, c, d), (e, f, g, h) = rectangle(one), rectangle(other)
            apart = c <= e or g <= a or d <= f or h <= b
            assert apart, f"{one['type']} {one['id']} and {other['type']} {other['id']} overlap {name and f'in {name}'}"


def test_what_a_run_shows_covers_no_other_node(workflow):
    for name, graph in graphs(workflow).items():
        for node in graph["nodes"]:
            left, top, right, bottom = rectangle(node)
            below = [y for x, y, r, _ in map(rectangle, graph["nodes"]) if y >= bottom and x < right and left < r]
            room = min(below, default=float("inf")) - top - TITLE
            assert room >= SHOWN.get(node["type"], 0), f"below {node['type']} {node['id']} {name and f'in {name}'}"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_node_but_the_notes_is_in_one_group(path):
    workflow = read(path)
    for node in (node for node in workflow["nodes"] if node["type"] not in NOTES):
        left, top, right, bottom = rectangle(node)
        groups = [
            group["title"]
            for group, (x, y, width, height) in ((group, group["bounding"]) for group in workflow["groups"])
            if x <= left and right <= x + width and y <= top and bottom <= y + height
        ]
        assert len(groups) == 1, f"{node.get('title', node['type'])} is in {groups}"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_no_two_groups_overlap(path):
    for one, other in itertools.combinations(read(path)["groups"], 2):
        (a, b, w, h), (x, y, p, q) = one["bounding"], other["bounding"]
        assert a + w <= x or x + p <= a or b + h <= y or y + q <= b, f"{one['title']} and {other['title']}"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_the_page_opens_it_so_large_that_titles_can_be_read(path):
    left, top, right, bottom = zip(*map(rectangle, read(path)["nodes"]), strict=True)
    sides = max(right) - min(left), max(bottom) - min(top)
    scale = FILLED * min(window / (side + MARGIN) for window, side in zip(WINDOW, sides, strict=True))
    assert TITLE_FONT * scale >= LEGIBLE, f"{sides[0]} × {sides[1]} pixels"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_no_node_is_narrower_than_the_page_draws_it(path):
    assert min(node["size"][0] for node in read(path)["nodes"]) >= LEAST_WIDTH


def test_a_recorder_is_muted_and_the_notes_say_how_to_wake_it():
    """With nothing recorded it says so at every run, over everything else."""
    with_recorder = [nodes for nodes in (read(path)["nodes"] for path in TEMPLATES) if "RecordAudio" in str(nodes)]
    assert len(with_recorder) == 6  # all but those with a second row
    for nodes in with_recorder:
        assert [node["mode"] for node in nodes if node["type"] == "RecordAudio"] == [MUTED]
        assert all("Ctrl+M" in node["widgets_values"][0] for node in nodes if node["type"] in NOTES)
