"""The workflow files that the page lists as templates, and what the README says of the pack."""

import asyncio
import itertools
import json
import re
from pathlib import Path

import pytest
import torch
from host import ComfyUI, base_directory
from PIL import Image
from run import describe, run_prompt, saved_video, with_demo_models
from safetensors.torch import load_file
from workflow import NOTES, to_api

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
TITLE_HEIGHT = 30

FILES = {  # inputs that name files, which need not be on this machine
    ("LoadImage", "image"), ("LoadAudio", "audio"), ("FantasyTalkingDiTLoader", "dit_name"),
    ("FantasyTalkingDiTLoader", "adapter_name"), ("FantasyTalkingAdapterLoader", "adapter_name"),
    ("FantasyTalkingWav2VecLoader", "model_name"), ("UNETLoader", "unet_name"), ("CLIPLoader", "clip_name"),
    ("CLIPVisionLoader", "clip_name"), ("VAELoader", "vae_name"),
}
MODELS = {name for name in FILES if name not in {("LoadImage", "image"), ("LoadAudio", "audio")}}


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def workflow(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def info(node: type) -> dict:
    """What the server says of a node."""
    if hasattr(node, "GET_NODE_INFO_V1"):
        return node.GET_NODE_INFO_V1()
    inputs = node.INPUT_TYPES()
    return {"input": inputs, "input_order": {group: list(names) for group, names in inputs.items()}}


def as_prompt(host, workflow: dict) -> dict:
    kinds = {node["type"] for node in workflow["nodes"]} & host.nodes.keys()
    return to_api(workflow, {kind: info(host.nodes[kind]) for kind in kinds})


@pytest.fixture
def prompt(host, workflow) -> dict:
    return as_prompt(host, workflow)


def model_files(prompt: dict) -> set[str]:
    return {node["inputs"][name] for node in prompt.values() for kind, name in MODELS
            if node["class_type"] == kind and name in node["inputs"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A ComfyUI with the demo's models, portrait and speech; what it makes goes into a folder of its own."""
    base = tmp_path_factory.mktemp("demo")
    for name in ("custom_nodes", "input", "models"):
        (base / name).symlink_to(base_directory() / name, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANTASYTALKING_BASE", str(base))
        with ComfyUI(base / "server.log") as running:
            yield running


def test_the_workflows_of_the_readme_are_there():
    assert {"fantasytalking_basic", "fantasytalking_identity"} <= {path.stem for path in WORKFLOWS}


def test_it_runs_to_the_end_with_the_demos_models(server, prompt):
    outputs = asyncio.run(run_prompt(server.address, with_demo_models(prompt)))
    assert describe(saved_video(outputs)).startswith("128x128, 81 frames at 23 per second, 3.5")


def test_the_host_accepts_everything_but_files_that_are_not_here(prompt):
    """The host's own check: node types, links, required inputs, ranges and choices."""
    import execution

    valid, error, _, node_errors = asyncio.run(execution.validate_prompt("test", prompt, None))
    assert valid or error["type"] == "prompt_outputs_failed_validation"
    refused = {(node["class_type"], reason["extra_info"].get("input_name")): reason["details"]
               for node in node_errors.values() for reason in node["errors"]}
    assert {name: why for name, why in refused.items() if name not in FILES} == {}


def test_it_saves_a_video_that_follows_the_speech(prompt):
    (video,) = (node["inputs"] for node in prompt.values() if node["class_type"] == "CreateVideo")
    (latent,) = (node["inputs"] for node in prompt.values() if node["class_type"] == "WanImageToVideo")
    sources = [video["audio"], video["fps"], latent["length"]]
    assert {prompt[source]["class_type"] for source, _ in sources} == {"FantasyTalkingEncodeSpeech"}
    assert [slot for _, slot in sources] == [1, 3, 2]
    assert any(node["class_type"] == "SaveVideo" for node in prompt.values())


def test_its_note_and_the_readme_say_where_its_models_are(workflow, prompt):
    (note,) = (node["widgets_values"][0] for node in workflow["nodes"] if node["type"] in NOTES)
    for name in model_files(prompt):
        assert name in note and name in README


def test_the_page_can_offer_its_model_files(workflow, prompt):
    """Every model file has its address on the node that loads it; the Wav2Vec2 model is a folder."""
    offered = {model["name"]: model for node in workflow["nodes"] for model in node["properties"].get("models", [])}
    assert offered.keys() == {name for name in model_files(prompt) if Path(name).suffix}
    for name, model in offered.items():
        assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith(f"/{name}")
        assert f"`{model['directory']}`" in README


def test_it_has_a_picture_for_the_list_of_templates(path):
    picture = path.with_suffix(".jpg")
    with Image.open(picture) as image:
        assert image.format == "JPEG" and min(image.size) >= 400
    assert picture.stat().st_size < 300_000


def test_no_two_nodes_overlap(workflow):
    boxes = {node["id"]: (*node["pos"], *node["size"]) for node in workflow["nodes"]}
    for (a, (x, y, w, h)), (b, (u, v, p, q)) in itertools.combinations(boxes.items(), 2):
        apart = x + w <= u or u + p <= x or y + h <= v - TITLE_HEIGHT or v + q <= y - TITLE_HEIGHT
        assert apart, f"nodes {a} and {b} overlap"


def test_every_node_but_the_note_is_in_one_group(workflow):
    for node in workflow["nodes"]:
        x, y, width, height = (*node["pos"], *node["size"])
        groups = [title for title, (left, top, w, h) in ((g["title"], g["bounding"]) for g in workflow["groups"])
                  if left <= x and x + width <= left + w and top <= y - TITLE_HEIGHT and y + height <= top + h]
        assert len(groups) == (node["type"] not in NOTES), f"{node['type']} is in {groups}"


# ---------------------------------------------------------------------------------------------- the face that is kept

@pytest.fixture
def identity_prompt(host) -> dict:
    return as_prompt(host, json.loads((ROOT / "workflows/fantasytalking_identity.json").read_text(encoding="utf-8")))


def node_of(prompt: dict, kind: str) -> dict:
    (inputs,) = (node["inputs"] for node in prompt.values() if node["class_type"] == kind)
    return inputs


def test_the_face_is_cut_from_the_portrait_as_it_was_loaded(identity_prompt):
    crop, encoder = "FantasyTalkingCropFace", "FantasyTalkingEncodeFaceCLIP"
    sources = [node_of(identity_prompt, kind)[name] for kind, name in
               (("FantasyTalkingConditioning", "identity"), (encoder, "face"), (crop, "image"))]
    assert [(identity_prompt[node]["class_type"], slot) for node, slot in sources] == [
        (encoder, 0), (crop, 0), ("LoadImage", 0)]
    assert node_of(identity_prompt, encoder)["clip_vision"] == node_of(identity_prompt, "CLIPVisionEncode")["clip_vision"]


def test_the_identity_strength_on_the_page_weighs_the_face(server, identity_prompt):
    """The template's own 0.5 changes the video, 0 is as if no face were wired."""

    def latents(strength: float, wired: bool = True) -> torch.Tensor:
        prompt = with_demo_models(json.loads(json.dumps(identity_prompt)))
        (sampler,) = (key for key, node in prompt.items() if node["class_type"] == "FantasyTalkingSampler")
        prompt = {key: node for key, node in prompt.items() if node["class_type"] not in ("SaveVideo", "PreviewImage")}
        prompt["save"] = {"class_type": "SaveLatent", "inputs": {"samples": [sampler, 0], "filename_prefix": "face"},
                          "_meta": {"title": "Save"}}
        node_of(prompt, "FantasyTalkingApplyAdapter")["identity_strength"] = strength
        node_of(prompt, "FantasyTalkingEncodeSpeech")["length"] = 9
        prompt[sampler]["inputs"]["steps"] = 2
        if not wired:
            del node_of(prompt, "FantasyTalkingConditioning")["identity"]
        (file,) = asyncio.run(run_prompt(server.address, prompt))["save"]["latents"]
        return load_file(base_directory() / "output" / file["subfolder"] / file["filename"])["latent_tensor"]

    assert node_of(identity_prompt, "FantasyTalkingApplyAdapter")["identity_strength"] == 0.5
    without = latents(0.0)
    assert torch.equal(without, latents(0.0, wired=False))
    assert (latents(0.5) - without).abs().max() > 1e-3


# ------------------------------------------------------------------------------------------------------- the README

def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)[1]


def test_the_readme_has_every_node_of_the_pack_and_no_other(host):
    ours = {id: info(node)["display_name"] for id, node in host.nodes.items()
            if getattr(node, "RELATIVE_PYTHON_MODULE", None) == "custom_nodes.FantasyTalking"}
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)` \|", section("Nodes"), re.MULTILINE)
    assert {id: name for name, id in rows} == ours


def test_the_readme_names_inputs_that_the_nodes_have(host):
    for id, inputs in re.findall(r"^\| [^|]+ \| `(\w+)` \| [^|]* \| ([^|]*)\|", section("Nodes"), re.MULTILINE):
        known = {name for group in info(host.nodes[id])["input"].values() for name in group}
        assert set(re.findall(r"`(\w+)`", inputs)) <= known


def test_files_of_the_project_that_the_readme_names_exist():
    linked = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    named = re.findall(r"\b(?:demo|docs|workflows|tests|benchmarks|nodes)/[\w./-]*\w", README)
    modules = [f"{name.replace('.', '/')}.py" for name in re.findall(r"python -m (fantasytalking_core[\w.]+)", README)]
    scripts = re.findall(r"python (\w+\.py)", README)
    assert linked and named and modules and scripts
    for name in {*linked, *named, *modules, *scripts}:
        assert (ROOT / name).exists(), f"the README names {name}, which is not there"


def test_sections_that_the_readme_links_to_exist():
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^##+ (.+)$", README, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings
