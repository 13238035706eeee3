"""The templates in the size of the demo's models: the graph that `dev.py demo` runs, the files that `dev.py serve` lists."""

import json

import host
import pytest
from settings import DEMOS, MOUTH, SETTINGS, demo, in_demo_size
from workflow import WorkflowError, every_node, with_settings


def test_the_links_of_the_nodes_whose_settings_change_are_kept():
    sampler = {"class_type": "FantasyTalkingSampler", "inputs": {"steps": 30, "model": ["3", 0]}}
    assert in_demo_size({"8": sampler})["8"]["inputs"] == {**SETTINGS["FantasyTalkingSampler"], "model": ["3", 0]}


def test_the_video_is_enlarged_behind_whatever_makes_its_pictures():
    prompt = {"4": {"class_type": "CreateVideo", "inputs": {"images": ["3", 1], "fps": 23}}}
    small = in_demo_size(prompt)
    assert small["enlarge_4"]["inputs"]["image"] == ["3", 1]
    assert small["4"]["inputs"] == {"images": ["enlarge_4", 0], "fps": 23}
    assert prompt["4"]["inputs"]["images"] == ["3", 1]


def test_a_graph_of_the_small_models_has_the_demos_size_already():
    small = {
        "1": {"class_type": "FantasyTalkingSmallModels", "inputs": {}},
        "2": {"class_type": "FantasyTalkingSampler", "inputs": {"steps": 8, "model": ["1", 0]}},
        "3": {"class_type": "CreateVideo", "inputs": {"images": ["2", 0], "fps": 23}},
    }
    assert in_demo_size(small) == small


def test_two_speakers_are_a_pair_and_its_conversation_sampled_twice_as_wide():
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": ""}},
        "2": {"class_type": "LoadAudio", "inputs": {"audio": ""}},
        "3": {"class_type": "ImageScaleToMaxDimension", "inputs": {"image": ["1", 0], "largest_size": 512}},
        "4": {"class_type": "FantasyTalkingSpeakerMasks", "inputs": {"image": ["1", 0]}},
    }
    found = {key: node["inputs"] for key, node in in_demo_size(prompt).items()}
    assert found["1"] == {"image": "pair_portrait.jpg"} and found["2"] == {"audio": "conversation_speech.wav"}
    assert found["3"] == {"image": ["1", 0], "largest_size": 128}


def saved(kind: str, names: list[str], *values) -> dict:
    """A workflow of one node, whose first input has no widget."""
    slots = [{"name": "model", "link": 1}, *({"name": name, "widget": {"name": name}} for name in names)]
    return {
        "nodes": [{"id": 3, "type": kind, "inputs": slots, "widgets_values": list(values)}],
        "links": [[1, 2, 0, 3, 0, "MODEL"]],
    }


def test_a_value_behind_a_seeds_nameless_control_is_found():
    workflow = saved("KSampler", ["seed", "steps", "cfg"], 7, "randomize", 30, 5)
    (node,) = with_settings(workflow, {"KSampler": {"steps": 4}})["nodes"]
    assert node["widgets_values"] == [7, "randomize", 4, 5] and node["inputs"][0]["link"] == 1
    assert workflow["nodes"][0]["widgets_values"][2] == 30


def test_a_widget_that_a_node_has_not_is_named():
    with pytest.raises(WorkflowError, match=r"Node 3 \(LoadImage\) has no widget picture"):
        with_settings(saved("LoadImage", ["image"], "a.png"), {"LoadImage": {"picture": "b.png"}})


def test_the_page_lists_every_template_in_demo_size(tmp_path):
    host.write_demo_workflows(tmp_path / "workflows")
    names = sorted(path.stem for path in (tmp_path / "workflows").iterdir())
    assert names == [
        "demo Dub a video",
        "demo Long speech",
        "demo Talking portrait (start here)",
        "demo Talking portrait, 12 GB card",
        "demo Talking portrait, in 4 steps",
        "demo Talking portrait, keep the face",
        "demo Talking portrait, larger and smoother",
        "demo Talking portrait, livelier or calmer",
        "demo Try it with the small demo models",
        "demo Two speakers",
    ]


def test_every_demo_that_is_named_runs_a_template_that_is_there():
    for each in DEMOS.values():
        workflow = json.loads((host.TEMPLATES / each.file).read_text(encoding="utf-8"))
        assert set(each.changed) <= {node["type"] for node in every_node(workflow)}


def test_the_dub_has_a_mask_in_place_of_a_detector():
    prompt = {
        "17": {"class_type": "LoadMediaPipeFaceLandmarker", "inputs": {}},
        "18": {"class_type": "MediaPipeFaceLandmarker", "inputs": {"model": ["17", 0]}},
        "19": {"class_type": "FantasyTalkingMouthMask", "inputs": {"face_landmarks": ["18", 0]}},
        "20": {"class_type": "FantasyTalkingDubLatent", "inputs": {"mask": ["19", 0]}},
    }
    small = demo("dub", prompt)
    assert set(small) == {"19", "20"} and small["20"] == prompt["20"]
    assert small["19"]["class_type"] == "LoadImageMask" and small["19"]["inputs"]["image"] == MOUTH
