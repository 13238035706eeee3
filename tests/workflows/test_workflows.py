"""The workflow files that the page lists as templates, and what the README says of the pack."""

import asyncio
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from host import ComfyUI, base_directory
from PIL import Image
from run import DemoError, describe, run_prompt, saved_video
from safetensors.torch import load_file, save_file
from settings import SIZE, in_demo_size, template_in_demo_size
from workflow import NOTES, to_api

from drawn_world.world.look import Look
from drawn_world.world.portrait import Pose, draw
from support import ROOT, world

README = (ROOT / "README.md").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
TITLE_HEIGHT = 30

FILES = {  # inputs that name files, which need not be on this machine
    ("LoadImage", "image"),
    ("LoadAudio", "audio"),
    ("FantasyTalkingDiTLoader", "dit_name"),
    ("FantasyTalkingDiTLoader", "adapter_name"),
    ("FantasyTalkingAdapterLoader", "adapter_name"),
    ("FantasyTalkingWav2VecLoader", "model_name"),
    ("UNETLoader", "unet_name"),
    ("CLIPLoader", "clip_name"),
    ("CLIPVisionLoader", "clip_name"),
    ("VAELoader", "vae_name"),
    ("LoadVideo", "file"),
    ("LoadMediaPipeFaceLandmarker", "model_name"),
    ("LoraLoaderModelOnly", "lora_name"),
    ("UpscaleModelLoader", "model_name"),
    ("FrameInterpolationModelLoader", "model_name"),
}
MODELS = FILES - {("LoadImage", "image"), ("LoadAudio", "audio"), ("LoadVideo", "file")}
OWN = {"fantasytalking_trained.safetensors"}  # stands for a file of the user's own training: nobody publishes it

NEWER = {"FrameInterpolationModelLoader", "FrameInterpolate"}  # older versions of the host have no such nodes
SIZES = {
    "fantasytalking_upscale": "512x512, 161 frames at 46 per second, 3.5",  # twice the size, a frame between any two
    "fantasytalking_two_speakers": "512x256, 81 frames at 23 per second, 3.5",
    "fantasytalking_dub": "256x256, 30 frames at 25 per second, 1.2",  # as many and as fast as the source
    "fantasytalking_long": "64x64, 89 frames at 23 per second, 3.9",  # all of the recording's 3.77 s, as it was sampled
}
SAMPLING = ("FantasyTalkingSampler", "FantasyTalkingRender")
ROOM = {
    "FantasyTalkingDiTLoader": 156,
    "FantasyTalkingAdapterLoader": 108,
    "FantasyTalkingEncodeSpeech": 216,
    "FantasyTalkingCropFace": 334,
    "FantasyTalkingPreviewSpeech": 300,
    "FantasyTalkingRender": 1100,
}  # heights that nodes grow to in a run


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
    kinds = {node["type"] for node in workflow["nodes"]}
    if missing := (kinds & NEWER) - host.nodes.keys():
        pytest.skip(f"this ComfyUI has no {', '.join(missing)}")
    kinds &= host.nodes.keys()
    return to_api(workflow, {kind: info(host.nodes[kind]) for kind in kinds})


@pytest.fixture
def prompt(host, workflow) -> dict:
    return as_prompt(host, workflow)


@pytest.fixture
def whole_prompt(host, workflow) -> dict:
    """With the nodes that are muted until someone needs them."""
    return as_prompt(host, {**workflow, "nodes": [{**node, "mode": 0} for node in workflow["nodes"]]})


@pytest.fixture
def notes(workflow) -> str:
    return "\n".join(node["widgets_values"][0] for node in workflow["nodes"] if node["type"] in NOTES)


def model_files(prompt: dict) -> set[str]:
    return {
        node["inputs"][name]
        for node in prompt.values()
        for kind, name in MODELS
        if node["class_type"] == kind and name in node["inputs"]
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A ComfyUI with the demo's models, portrait and speech; what it makes goes into a folder of its own.

    Its LoRA is one of random weights: the demo's changes nothing.
    """
    base = tmp_path_factory.mktemp("demo")
    (base / "models/loras").mkdir(parents=True)
    for name in ("custom_nodes", "input", *(f"models/{path.name}" for path in (base_directory() / "models").iterdir())):
        if name != "models/loras":
            (base / name).symlink_to(base_directory() / name)
    for path in (base_directory() / "models/loras").iterdir():
        generator = torch.Generator().manual_seed(0)
        weights = {key: torch.randn(value.shape, generator=generator) for key, value in load_file(path).items()}
        save_file(weights, base / "models/loras" / path.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANTASYTALKING_BASE", str(base))
        with ComfyUI(base / "server.log") as running:
            yield running


def test_the_workflows_of_the_readme_are_there():
    assert len(WORKFLOWS) == 8
    assert set(re.findall(r"^- \*(\w+)\*:", README, re.MULTILINE)) == {path.stem for path in WORKFLOWS}


def video_of(server, prompt: dict, **changes: dict) -> str:
    """Size, frames and length of the sound of what a graph saves in two steps with the demo's models."""
    return describe(saved_video(outputs_of(server, prompt, **changes)))


def outputs_of(server, prompt: dict, **changes: dict) -> dict:
    """What its nodes show."""
    prompt = in_demo_size(json.loads(json.dumps(prompt)))
    for kind, inputs in {class_of(prompt, *SAMPLING): {"steps": 2}, **changes}.items():
        node_of(prompt, kind).update(inputs)
    return asyncio.run(run_prompt(server.address, prompt))


def masked_by_hand(prompt: dict) -> dict:
    """The dub of a drawn video of 30 frames at 25 fps, with a mask of a box: nobody has the weights of the landmark detector."""
    moments = [Pose(mouth_open=number % 5 / 4, tilt=number / 100) for number in range(30)]
    clip = base_directory() / "output/clip.mp4"
    clip.parent.mkdir(exist_ok=True)
    world.write(clip, np.stack([draw(Look.random(1), pose, SIZE) for pose in moments]), 25.0)
    prompt = json.loads(json.dumps(prompt))
    for name, value, width, height in (("nothing", 0.0, SIZE, SIZE), ("box", 1.0, 32, 24)):
        prompt[name] = {"class_type": "SolidMask", "inputs": {"value": value, "width": width, "height": height}}
    inputs = {"destination": ["nothing", 0], "source": ["box", 0], "x": 16, "y": 32, "operation": "add"}
    prompt["mouth"] = {"class_type": "MaskComposite", "inputs": inputs}
    for name in ("nothing", "box", "mouth"):
        prompt[name]["_meta"] = {"title": name}
    node_of(prompt, "LoadVideo")["file"] = "clip.mp4 [output]"
    for kind in ("FantasyTalkingDubLatent", "ImageCompositeMasked"):
        assert prompt[node_of(prompt, kind)["mask"][0]]["class_type"] == "FantasyTalkingMouthMask"
        node_of(prompt, kind)["mask"] = ["mouth", 0]
    return prompt


def test_it_runs_to_the_end_with_the_demos_models(server, path, prompt):
    if path.stem == "fantasytalking_dub":
        prompt = masked_by_hand(prompt)
    assert video_of(server, prompt).startswith(SIZES.get(path.stem, "256x256, 81 frames at 23 per second, 3.5"))


def test_the_copy_that_the_page_lists_in_demo_size_runs_what_the_demo_runs(host, workflow, prompt):
    expected = {key: node["inputs"] for key, node in in_demo_size(prompt).items() if node["class_type"] != "ImageScaleBy"}
    found = {key: node["inputs"] for key, node in as_prompt(host, template_in_demo_size(workflow)).items()}
    for video in (key for key, node in prompt.items() if node["class_type"] == "CreateVideo"):
        expected[video] = prompt[video]["inputs"]  # not enlarged
    assert found == expected


def test_the_host_accepts_everything_but_files_that_are_not_here(prompt, whole_prompt):
    """The host's own check: node types, links, required inputs, ranges and choices."""
    import execution

    for graph in (prompt, whole_prompt):
        valid, error, _, node_errors = asyncio.run(execution.validate_prompt("test", graph, None))
        assert valid or error["type"] == "prompt_outputs_failed_validation"
        refused = {
            (node["class_type"], reason["extra_info"].get("input_name")): reason["details"]
            for node in node_errors.values()
            for reason in node["errors"]
        }
        assert {name: why for name, why in refused.items() if name not in FILES} == {}


def sounds(prompt: dict, source: list) -> list:
    """What a video's sound comes from, through the host's Audio Merge where that mixes it."""
    if prompt[source[0]]["class_type"] != "AudioMerge":
        return [source]
    return [prompt[source[0]]["inputs"][name] for name in ("audio1", "audio2")]


def test_it_saves_a_video_that_follows_the_speech(prompt):
    if class_of(prompt, *SAMPLING) == "FantasyTalkingRender":  # saves itself, as long and as fast as the speech
        heard = [node_of(prompt, "FantasyTalkingConditioning")["speech"], node_of(prompt, "FantasyTalkingRender")["audio"]]
        assert [(prompt[source]["class_type"], slot) for source, slot in heard] == [
            ("FantasyTalkingEncodeSpeech", 0),
            ("FantasyTalkingEncodeSpeech", 1),
        ]
        return
    video, latent = node_of(prompt, "CreateVideo"), node_of(prompt, "WanImageToVideo")
    fps = video["fps"]
    if prompt[fps[0]]["class_type"] == "ComfyMathExpression":  # more frames, just as many times per second
        product = prompt[fps[0]]["inputs"]
        assert product["expression"] == "a * b" and fps[1] == 0
        assert product["values.b"] == node_of(prompt, "FrameInterpolate")["multiplier"]
        fps = product["values.a"]
    sources = [*sounds(prompt, video["audio"]), fps, latent["length"]]
    assert {prompt[source]["class_type"] for source, _ in sources} == {"FantasyTalkingEncodeSpeech"}
    assert [slot for _, slot in sources[-3:]] == [1, 3, 2] and {slot for _, slot in sources[:-2]} == {1}
    assert any(node["class_type"] == "SaveVideo" for node in prompt.values())


def test_its_notes_and_the_readme_say_where_its_models_are(notes, prompt, whole_prompt):
    assert {name for name in model_files(whole_prompt) if name not in notes} == set()
    assert {name for name in model_files(prompt) if name not in README} <= OWN


def test_the_page_can_offer_its_model_files(workflow, notes, whole_prompt):
    """Every model file has its address on the node that loads it; the Wav2Vec2 model is a folder."""
    offered = {model["name"]: model for node in workflow["nodes"] for model in node["properties"].get("models", [])}
    assert offered.keys() == {name for name in model_files(whole_prompt) if Path(name).suffix} - OWN
    for name, model in offered.items():
        assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith(f"/{name}")
        assert f"**{model['directory']}**" in notes


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


def test_nodes_have_room_for_what_they_show_after_a_run(workflow):
    assert {node["type"] for node in workflow["nodes"] if node["size"][1] < ROOM.get(node["type"], 0)} == set()


def test_every_node_but_the_notes_is_in_one_group(workflow):
    for node in (node for node in workflow["nodes"] if node["type"] not in NOTES):
        x, y, width, height = (*node["pos"], *node["size"])
        groups = [
            title
            for title, (left, top, w, h) in ((g["title"], g["bounding"]) for g in workflow["groups"])
            if left <= x and x + width <= left + w and top <= y - TITLE_HEIGHT and y + height <= top + h
        ]
        assert len(groups) == 1, f"{node['type']} is in {groups}"


# -------------------------------------------------------------------------------- the face that is kept, and the motion


def template(host, name: str) -> dict:
    return as_prompt(host, json.loads((ROOT / f"workflows/fantasytalking_{name}.json").read_text(encoding="utf-8")))


@pytest.fixture
def identity_prompt(host) -> dict:
    return template(host, "identity")


@pytest.fixture
def motion_prompt(host) -> dict:
    return template(host, "motion")


def node_of(prompt: dict, kind: str) -> dict:
    (inputs,) = (node["inputs"] for node in prompt.values() if node["class_type"] == kind)
    return inputs


def class_of(prompt: dict, *kinds: str) -> str:
    """The one of these classes that a graph has a node of."""
    (kind,) = {node["class_type"] for node in prompt.values()} & {*kinds}
    return kind


def latents(server, prompt: dict, **changes: dict) -> torch.Tensor:
    """Of a short run with other inputs in some nodes; None unwires one."""
    prompt = in_demo_size(json.loads(json.dumps(prompt)))
    (sampler,) = (key for key, node in prompt.items() if node["class_type"] == "FantasyTalkingSampler")
    prompt = {key: node for key, node in prompt.items() if node["class_type"] not in ("SaveVideo", "PreviewImage")}
    short = {"FantasyTalkingEncodeSpeech": {"length": 9}, "FantasyTalkingSampler": {"steps": 2}}
    for kind, inputs in [*short.items(), *changes.items()]:
        node_of(prompt, kind).update(inputs)
    for node in prompt.values():
        node["inputs"] = {name: value for name, value in node["inputs"].items() if value is not None}
    prompt["save"] = {
        "class_type": "SaveLatent",
        "inputs": {"samples": [sampler, 0], "filename_prefix": "short"},
        "_meta": {"title": "Save"},
    }
    (file,) = asyncio.run(run_prompt(server.address, prompt))["save"]["latents"]
    return load_file(base_directory() / "output" / file["subfolder"] / file["filename"])["latent_tensor"]


def test_the_face_is_cut_from_the_portrait_as_it_was_loaded(identity_prompt):
    crop, encoder = "FantasyTalkingCropFace", "FantasyTalkingEncodeFaceCLIP"
    sources = [
        node_of(identity_prompt, kind)[name]
        for kind, name in (("FantasyTalkingConditioning", "identity"), (encoder, "face"), (crop, "image"))
    ]
    assert [(identity_prompt[node]["class_type"], slot) for node, slot in sources] == [
        (encoder, 0),
        (crop, 0),
        ("LoadImage", 0),
    ]
    assert node_of(identity_prompt, encoder)["clip_vision"] == node_of(identity_prompt, "CLIPVisionEncode")["clip_vision"]


def test_the_identity_strength_on_the_page_weighs_the_face(server, identity_prompt):
    """The template's own 0.5 changes the video, 0 is as if no face were wired."""
    off = {"FantasyTalkingApplyAdapter": {"identity_strength": 0.0}}
    without = latents(server, identity_prompt, **off)
    unwired = latents(server, identity_prompt, **off, FantasyTalkingConditioning={"identity": None})
    assert node_of(identity_prompt, "FantasyTalkingApplyAdapter")["identity_strength"] == 0.5
    assert torch.equal(without, unwired)
    assert (latents(server, identity_prompt) - without).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["expression", "body"])
def test_the_sliders_on_the_page_change_the_video(server, motion_prompt, name):
    still = latents(server, motion_prompt, FantasyTalkingMotionIntensity={name: 0.1})
    lively = latents(server, motion_prompt, FantasyTalkingMotionIntensity={name: 0.9})
    assert node_of(motion_prompt, "FantasyTalkingMotionIntensity")[name] == 0.5
    assert (lively - still).abs().max() > 1e-3


def test_an_adapter_without_motion_is_refused_before_sampling(server, motion_prompt):
    published = {"adapter_name": "fantasytalking_model.ckpt"}
    with pytest.raises(DemoError, match="has no motion weights.*trained with motion"):
        latents(server, motion_prompt, FantasyTalkingAdapterLoader=published)


def test_what_a_clip_needs_is_muted(motion_prompt):
    assert {"LoadVideo", "LoadMediaPipeFaceLandmarker", "FantasyTalkingMotionFromVideo"}.isdisjoint(
        node["class_type"] for node in motion_prompt.values()
    )


# ------------------------------------------------------------------------------- minutes of speech, and a few steps


def test_long_speech_is_rendered_in_windows_for_as_long_as_it_lasts(server, host):
    prompt = template(host, "long")
    assert node_of(prompt, "FantasyTalkingEncodeSpeech")["length"] == 0
    render = node_of(prompt, "FantasyTalkingRender")
    assert (render["window"], render["overlap"]) == (81, 12)
    outputs = outputs_of(server, prompt, FantasyTalkingEncodeSpeech={"start_time": 1.0})
    video = describe(saved_video(outputs))
    assert video.startswith("64x64, 65 frames at 23 per second, 2.8")  # 2.77 s are left of the recording
    (text,) = (text for output in outputs.values() for text in output.get("text", []) if "parts" in text)
    assert text.startswith("3 parts · 0:02")  # 17 latent frames: 9, then twice the portrait, 3 held and up to 5 new


def test_the_portrait_of_a_render_is_what_the_image_encoder_sees(host):
    prompt = template(host, "long")
    assert node_of(prompt, "FantasyTalkingRender")["start_image"] == node_of(prompt, "CLIPVisionEncode")["image"]


def test_a_render_goes_on_when_its_graph_is_run_again_from_the_page():
    """The page changes a seed after every run unless it is told not to."""
    workflow = json.loads((ROOT / "workflows/fantasytalking_long.json").read_text(encoding="utf-8"))
    (render,) = (node for node in workflow["nodes"] if node["type"] == "FantasyTalkingRender")
    assert render["widgets_values"][1] == "fixed"


def test_few_steps_are_guided_by_the_speech_alone_in_two_passes(host):
    sampler = node_of(template(host, "few_steps"), "FantasyTalkingSampler")
    guidance = host.core("sampling.guidance")
    steps = [guidance.Guidance(sampler["text_cfg"], sampler["audio_cfg"]).passes(step, 4) for step in range(4)]
    assert sampler["steps"] == 4
    assert steps == [guidance.Passes(guidance.Pass.TEXT, None, guidance.Pass.SPEECH)] * 4


def test_the_distilled_lora_reaches_the_model(server, host):
    prompt = template(host, "few_steps")
    off = latents(server, prompt, LoraLoaderModelOnly={"strength_model": 0.0})
    assert (latents(server, prompt) - off).abs().max() > 1e-3
    assert "lora key not loaded" not in server.log.read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------------- new speech for a video


def test_a_dub_is_of_the_video_alone_and_is_pasted_back_into_it(host):
    prompt = template(host, "dub")

    def kind(source: list) -> tuple[str, int]:
        return prompt[source[0]]["class_type"], source[1]

    mouth, dub, paste = (
        node_of(prompt, name) for name in ("FantasyTalkingMouthMask", "FantasyTalkingDubLatent", "ImageCompositeMasked")
    )
    frames = ("GetVideoComponents", 0)
    seen = [mouth["images"], node_of(prompt, "MediaPipeFaceLandmarker")["image"], dub["images"], paste["destination"]]
    assert {kind(source) for source in seen} == {frames}
    assert kind(dub["mask"]) == kind(paste["mask"]) == ("FantasyTalkingMouthMask", 0)
    assert kind(node_of(prompt, "FantasyTalkingSampler")["latent_image"]) == ("FantasyTalkingDubLatent", 0)
    speech = node_of(prompt, "FantasyTalkingEncodeSpeech")
    assert kind(speech["length"]) == ("FantasyTalkingDubLatent", 1) and kind(speech["fps"]) == ("GetVideoComponents", 2)
    first, wan = node_of(prompt, "ImageFromBatch"), node_of(prompt, "WanImageToVideo")
    assert kind(first["image"]) == frames and (first["batch_index"], first["length"]) == (0, 1)
    assert kind(wan["start_image"]) == kind(node_of(prompt, "CLIPVisionEncode")["image"]) == ("ImageFromBatch", 0)
    assert (
        kind(paste["source"]) == ("VAEDecode", 0)
        and kind(node_of(prompt, "CreateVideo")["images"])[0] == "ImageCompositeMasked"
    )
    assert node_of(prompt, "FantasyTalkingSampler")["denoise"] == 1


# ------------------------------------------------------------------------------------------------------- the README


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)[1]


def test_the_readme_has_every_node_of_the_pack_and_no_other(host):
    ours = {
        id: info(node)["display_name"]
        for id, node in host.nodes.items()
        if getattr(node, "RELATIVE_PYTHON_MODULE", None) == "custom_nodes.FantasyTalking"
    }
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)` \|", section("Nodes"), re.MULTILINE)
    assert {id: name for name, id in rows} == ours


def test_the_readme_names_inputs_that_the_nodes_have(host):
    for id, inputs in re.findall(r"^\| [^|]+ \| `(\w+)` \| [^|]* \| ([^|]*)\|", section("Nodes"), re.MULTILINE):
        known = {name for group in info(host.nodes[id])["input"].values() for name in group}
        assert set(re.findall(r"`(\w+)`", inputs)) <= known


def test_files_of_the_project_that_the_readme_names_exist():
    linked = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    named = re.findall(r"\b(?:demo|docs|workflows|tests|benchmarks|nodes)/[\w./-]*\w", README)
    modules = [name.replace(".", "/") for name in re.findall(r"python -m (fantasytalking_core[\w.]*)", README)]
    modules = [f"{name}/__main__.py" if (ROOT / name).is_dir() else f"{name}.py" for name in modules]
    scripts = re.findall(r"python (\w+\.py)", README)
    assert linked and named and modules and scripts
    for name in {*linked, *named, *modules, *scripts}:
        assert (ROOT / name).exists(), f"the README names {name}, which is not there"


def test_sections_that_the_readme_links_to_exist():
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^##+ (.+)$", README, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings
