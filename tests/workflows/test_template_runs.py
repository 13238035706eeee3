"""What templates and blueprints do on a server with the demo's models, and an older version's template with them."""

import asyncio
import json
import urllib.parse
import urllib.request

import numpy as np
import pytest
import torch
from host import base_directory
from run import DemoError, describe, run_prompt, saved_video
from safetensors.torch import load_file
from settings import SIZE, in_demo_size

from drawn_world.world.figure import Pose
from drawn_world.world.look import Look
from drawn_world.world.portrait import draw
from support import world
from support.templates import (
    BASIC_0_2,
    BLUEPRINTS,
    DUB,
    FEW_STEPS,
    IDENTITY,
    LARGER,
    LONG,
    MOTION,
    SPEAKERS,
    TEMPLATES,
    as_prompt,
    between_files,
    class_of,
    node_of,
    read,
    template,
)

LENGTH = ("FantasyTalkingEncodeSpeech", "length")
LENGTHS = {SPEAKERS: ("PrimitiveInt", "value")}
"""Where a template's length stands: of two speakers in one place for both."""
SHORT = {LENGTH[0]: {LENGTH[1]: 17}}
"""For less time. The demo runs the basic template in its own length."""
SHOWN = {
    LARGER: "768x768, 33 frames at 46 per second, 0.7",  # twice the size, a frame between any two
    SPEAKERS: "768x384, 17 frames at 23 per second, 0.7",
    DUB: "384x384, 30 frames at 25 per second, 1.2",  # as many and as fast as the source
    LONG: "96x96, 17 frames at 23 per second, 0.7",  # as it was sampled
}
USUAL = "384x384, 17 frames at 23 per second, 0.7"


def outputs_of(server, prompt: dict, **changes: dict) -> dict:
    """What its nodes show in a run of two steps, with other inputs of the nodes of some classes."""
    prompt = in_demo_size(json.loads(json.dumps(prompt)))
    for kind, inputs in {class_of(prompt, "FantasyTalkingSampler", "FantasyTalkingRender"): {"steps": 2}, **changes}.items():
        node_of(prompt, kind).update(inputs)
    return asyncio.run(run_prompt(server.address, prompt))


def video_of(server, prompt: dict, **changes: dict) -> str:
    """Size, frames and length of the sound of what it saves."""
    return describe(saved_video(outputs_of(server, prompt, **changes)))


def masked_by_hand(prompt: dict) -> dict:
    """The dub of a drawn video of 30 frames at 25 fps, with a mask of a box: nobody has the weights of the landmark detector."""
    moments = [Pose(mouth_open=number % 5 / 4, tilt=number / 100) for number in range(30)]
    clip = base_directory() / "output/clip.mp4"
    clip.parent.mkdir(exist_ok=True)
    world.write(clip, np.stack([draw(Look.random(1), pose, SIZE) for pose in moments]), 25.0)
    prompt = json.loads(json.dumps(prompt))
    for name, value, width, height in (("nothing", 0.0, SIZE, SIZE), ("box", 1.0, SIZE // 2, SIZE // 3)):
        prompt[name] = {"class_type": "SolidMask", "inputs": {"value": value, "width": width, "height": height}}
    inputs = {"destination": ["nothing", 0], "source": ["box", 0], "x": SIZE // 4, "y": SIZE // 2, "operation": "add"}
    prompt["mouth"] = {"class_type": "MaskComposite", "inputs": inputs}
    for name in ("nothing", "box", "mouth"):
        prompt[name]["_meta"] = {"title": name}
    node_of(prompt, "LoadVideo")["file"] = "clip.mp4 [output]"
    for kind in ("FantasyTalkingDubLatent", "ImageCompositeMasked"):
        assert prompt[node_of(prompt, kind)["mask"][0]]["class_type"] == "FantasyTalkingMouthMask"
        node_of(prompt, kind)["mask"] = ["mouth", 0]
    return prompt


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_runs_to_the_end(demo_server, host, path):
    prompt, short = as_prompt(host, read(path)), {}
    if path.stem == DUB:  # as long as the source
        prompt = masked_by_hand(prompt)
    else:
        kind, name = LENGTHS.get(path.stem, LENGTH)
        assert node_of(prompt, kind)[name] == (0 if path.stem == LONG else 81)  # 0: all of the recording
        short = {kind: {name: 17}}
    assert video_of(demo_server, prompt, **short).startswith(SHOWN.get(path.stem, USUAL))


def test_the_basic_template_as_version_0_2_published_it_runs(demo_server, host):
    """Workflow files are forever, and so are the names of the models in them."""
    prompt = as_prompt(host, read(BASIC_0_2))
    assert node_of(prompt, "FantasyTalkingDiTLoader")["adapter_name"] == "fantasytalking_model.ckpt"
    assert node_of(prompt, "FantasyTalkingWav2VecLoader")["model_name"] == "wav2vec2-base-960h"
    assert video_of(demo_server, prompt, **SHORT).startswith(USUAL)


def test_the_page_is_given_each_template_and_its_picture(demo_server):
    """The host serves the first folder it finds of example_workflows, example, examples, workflow and workflows."""
    for path in (*TEMPLATES, *(path.with_suffix(".jpg") for path in TEMPLATES)):
        address = f"{demo_server.address}/api/workflow_templates/FantasyTalking/{urllib.parse.quote(path.name)}"
        with urllib.request.urlopen(address) as answer:
            assert answer.read() == path.read_bytes()


def test_the_host_lists_the_blueprints(demo_server):
    with urllib.request.urlopen(f"{demo_server.address}/global_subgraphs") as answer:
        entries = [entry for entry in json.load(answer).values() if entry["info"]["node_pack"] == "custom_nodes.FantasyTalking"]
    assert sorted(entry["name"] for entry in entries) == sorted(path.stem for path in BLUEPRINTS)


@pytest.mark.parametrize(
    ("name", "expected"), [("Talking portrait", USUAL), ("Long take", "96x96, 17 frames at 23 per second, 0.7")]
)
def test_a_blueprint_makes_a_video_of_a_portrait_and_a_recording(demo_server, host, name, expected):
    (path,) = (path for path in BLUEPRINTS if path.stem.startswith(f"{name} ("))
    prompt = as_prompt(host, between_files(read(path)))
    assert video_of(demo_server, prompt, **SHORT).startswith(expected)


def test_long_speech_is_rendered_in_windows_for_as_long_as_it_lasts(demo_server, host):
    prompt = template(host, LONG)
    assert node_of(prompt, "FantasyTalkingEncodeSpeech")["length"] == 0
    render = node_of(prompt, "FantasyTalkingRender")
    assert (render["window"], render["overlap"]) == (81, 12)
    outputs = outputs_of(demo_server, prompt, FantasyTalkingEncodeSpeech={"start_time": 1.0})
    video = describe(saved_video(outputs))
    assert video.startswith("96x96, 65 frames at 23 per second, 2.8")  # 2.77 s are left of the recording
    (text,) = (text for output in outputs.values() for text in output.get("text", []) if "parts" in text)
    assert text.startswith("3 parts · 0:02")  # 17 latent frames: 9, then twice the portrait, 3 held and up to 5 new


# ---------------------------------------------------------------------------------------- what its fields do to the video


def latents(server, prompt: dict, **changes: dict) -> torch.Tensor:
    """Of a short run with other inputs in some nodes; None unwires one."""
    prompt = in_demo_size(json.loads(json.dumps(prompt)))
    (sampler,) = (key for key, node in prompt.items() if node["class_type"] == "FantasyTalkingSampler")
    outputs = ("SaveVideo", "PreviewImage", "PreviewAudio")
    prompt = {key: node for key, node in prompt.items() if node["class_type"] not in outputs}
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


def test_the_identity_strength_weighs_the_face(demo_server, host):
    """The template's own 0.5 changes the video, 0 is as if no face were wired."""
    prompt = template(host, IDENTITY)
    off = {"FantasyTalkingApplyAdapter": {"identity_strength": 0.0}}
    without = latents(demo_server, prompt, **off)
    unwired = latents(demo_server, prompt, **off, FantasyTalkingConditioning={"identity": None})
    assert node_of(prompt, "FantasyTalkingApplyAdapter")["identity_strength"] == 0.5
    assert torch.equal(without, unwired)
    assert (latents(demo_server, prompt) - without).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["expression", "body"])
def test_the_sliders_of_the_motion_change_the_video(demo_server, host, name):
    prompt = template(host, MOTION)
    still = latents(demo_server, prompt, FantasyTalkingMotionIntensity={name: 0.1})
    lively = latents(demo_server, prompt, FantasyTalkingMotionIntensity={name: 0.9})
    assert node_of(prompt, "FantasyTalkingMotionIntensity")[name] == 0.5
    assert (lively - still).abs().max() > 1e-3


@pytest.mark.parametrize("published", ["fantasytalking_fp16.safetensors", "fantasytalking_model.ckpt"])
def test_an_adapter_without_motion_is_refused_before_sampling(demo_server, host, published):
    with pytest.raises(DemoError, match="has no motion weights.*trained with motion"):
        latents(demo_server, template(host, MOTION), FantasyTalkingAdapterLoader={"adapter_name": published})


def test_the_distilled_lora_reaches_the_model(demo_server, host):
    prompt = template(host, FEW_STEPS)
    off = latents(demo_server, prompt, LoraLoaderModelOnly={"strength_model": 0.0})
    assert (latents(demo_server, prompt) - off).abs().max() > 1e-3
    assert "lora key not loaded" not in demo_server.log.read_text(encoding="utf-8")
