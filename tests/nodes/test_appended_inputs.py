"""Workflow files are forever: the shipped ones load and run where every node has got more inputs."""

import asyncio
import json
import urllib.request

import pytest
from conftest import link
from host import ComfyUI, base_directory
from run import describe, run_prompt, saved_video
from settings import in_demo_size
from workflow import to_api

from support import ROOT
from support.templates import BASIC, BASIC_0_2, TEMPLATES, named, node_of, read, skip_without_newer_nodes

NAME, VALUE = "appended", 0.25
"""The first new input and its default, as support/appended_inputs has them. That package is the server's to import: it
imports the host, which must not be imported before the tests have told it where its folders are."""


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    """A ComfyUI with the demo's models and the later version of this pack, and what it says of its nodes."""
    base = tmp_path_factory.mktemp("later")
    for name in ("input", "models"):
        link(base / name, base_directory() / name)
    for pack in (base_directory() / "custom_nodes").iterdir():
        link(base / "custom_nodes" / pack.name, pack.resolve())
    (base / "custom_nodes" / "FantasyTalking").unlink()
    link(base / "custom_nodes" / "FantasyTalking", ROOT / "tests" / "support" / "appended_inputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANTASYTALKING_BASE", str(base))
        with ComfyUI(base / "server.log") as running:
            with urllib.request.urlopen(f"{running.address}/object_info") as answer:
                yield running, json.load(answer)


def before(info: dict) -> dict:
    """The nodes as they are now, from what the server says of the later ones."""
    without = {}
    for kind, node in info.items():
        inputs = {group: {k: v for k, v in specs.items() if not k.startswith(NAME)} for group, specs in node["input"].items()}
        order = {group: [k for k in names if not k.startswith(NAME)] for group, names in node["input_order"].items()}
        without[kind] = {**node, "input": inputs, "input_order": order}
    return without


@pytest.mark.parametrize("path", [*TEMPLATES, BASIC_0_2], ids=lambda path: path.stem)
def test_every_value_goes_where_it_went_before_and_the_new_ones_have_their_defaults(later, path):
    _, info = later
    workflow = read(path)
    skip_without_newer_nodes(workflow, info)
    now, then = to_api(workflow, before(info)), to_api(workflow, info)
    ours = [key for key, node in now.items() if node["class_type"].startswith("FantasyTalking")]
    assert len(ours) >= 5
    for key in now:
        expected = {NAME: VALUE} if key in ours else {}
        assert then[key]["inputs"] == {**now[key]["inputs"], **expected}


@pytest.mark.parametrize("form", ["as the page saves it", "as the API takes it"])
def test_the_basic_template_runs(later, form):
    """Of the API's form, the nodes of now say which inputs there are."""
    running, info = later
    prompt = in_demo_size(to_api(named(BASIC), info if form.startswith("as the page") else before(info)))
    node_of(prompt, "FantasyTalkingSampler")["steps"] = 1
    node_of(prompt, "FantasyTalkingEncodeSpeech")["length"] = 17
    outputs = asyncio.run(run_prompt(running.address, prompt))
    assert describe(saved_video(outputs)).startswith("384x384, 17 frames at 23 per second, 0.7")
