"""The templates in the size of the demo's models: the graph that `dev.py demo` runs, the files that `dev.py serve` lists."""

import host
import pytest
from settings import SETTINGS, in_demo_size
from workflow import WorkflowError, changed


def test_the_links_of_the_nodes_whose_settings_change_are_kept():
    sampler = {"class_type": "FantasyTalkingSampler", "inputs": {"steps": 30, "model": ["3", 0]}}
    assert in_demo_size({"8": sampler})["8"]["inputs"] == {**SETTINGS["FantasyTalkingSampler"], "model": ["3", 0]}


def test_the_video_is_enlarged_behind_whatever_makes_its_pictures():
    prompt = {"4": {"class_type": "CreateVideo", "inputs": {"images": ["3", 1], "fps": 23}}}
    small = in_demo_size(prompt)
    assert small["enlarge_4"]["inputs"]["image"] == ["3", 1]
    assert small["4"]["inputs"] == {"images": ["enlarge_4", 0], "fps": 23}
    assert prompt["4"]["inputs"]["images"] == ["3", 1]


def test_a_value_behind_a_seeds_nameless_control_is_found():
    slots = [{"name": "model", "link": 1}, *({"name": name, "widget": {"name": name}} for name in ("seed", "steps", "cfg"))]
    node = {"id": 1, "type": "KSampler", "inputs": slots, "widgets_values": [7, "randomize", 30, 5]}
    assert changed(node, {"steps": 4})["widgets_values"] == [7, "randomize", 4, 5]
    assert node["widgets_values"][2] == 30


def test_a_widget_that_a_node_has_not_is_named():
    node = {"id": 3, "type": "LoadImage", "inputs": [], "widgets_values": ["a.png"]}
    with pytest.raises(WorkflowError, match=r"Node 3 \(LoadImage\) has no widget picture"):
        changed(node, {"picture": "b.png"})


def test_the_page_lists_every_template_in_demo_size(tmp_path):
    host.write_demo_workflows(tmp_path / "workflows")
    names = sorted(path.stem for path in (tmp_path / "workflows").iterdir())
    kinds = ["basic", "dub", "few steps", "identity", "long", "motion", "two speakers", "upscale"]
    assert names == [f"demo {kind}" for kind in kinds]
