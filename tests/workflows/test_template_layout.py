"""Where the nodes of templates and blueprints lie, in their subgraphs, too."""

import itertools

import pytest
from workflow import NOTES

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
