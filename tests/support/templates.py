"""The templates and blueprints that the pack ships: their files, their graphs in the form that the server runs, and a server."""

import asyncio
import json
import runpy
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from host import ComfyUI, base_directory
from safetensors.torch import load_file, save_file
from workflow import every_node, to_api

from support import ROOT

TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
BASIC, TRY, IDENTITY, MOTION = (
    "Talking portrait (start here)",
    "Try it with the small demo models",
    "Talking portrait, keep the face",
    "Talking portrait, livelier or calmer",
)
FEW_STEPS, SMALL_CARD, LARGER = (
    "Talking portrait, in 4 steps",
    "Talking portrait, 12 GB card",
    "Talking portrait, larger and smoother",
)
LONG, SPEAKERS, DUB = "Long speech", "Two speakers", "Dub a video"
BASIC_0_2 = ROOT / "tests/data/workflows/basic_0_2.json"
"""The basic template as version 0.2.0 published it."""
FOLDERS = {  # which widgets name model files, and the folder of models where these lie
    ("CLIPLoader", "clip_name"): "text_encoders",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("FantasyTalkingAdapterLoader", "adapter_name"): "fantasytalking",
    ("FantasyTalkingDiTLoader", "adapter_name"): "fantasytalking",
    ("FantasyTalkingDiTLoader", "dit_name"): "diffusion_models",
    ("FantasyTalkingWav2VecLoader", "model_name"): "wav2vec2",
    ("FrameInterpolationModelLoader", "model_name"): "frame_interpolation",
    ("LoadMediaPipeFaceLandmarker", "model_name"): "detection",
    ("LoraLoaderModelOnly", "lora_name"): "loras",
    ("UNETLoader", "unet_name"): "diffusion_models",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
    ("VAELoader", "vae_name"): "vae",
}
MEDIA = {("LoadImage", "image"), ("LoadAudio", "audio"), ("LoadVideo", "file")}
OWN = "fantasytalking_trained.safetensors"
"""Stands for a file of the user's own training: nobody publishes it."""
NEWER = {"FrameInterpolationModelLoader", "FrameInterpolate"}
"""Nodes that older versions of the host have not."""


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def named(name: str) -> dict:
    """A template."""
    return read(ROOT / f"workflows/{name}.json")


def graphs(workflow: dict) -> dict[str, dict]:
    """The graph itself, under the name of nothing, and its subgraphs."""
    return {"": workflow} | {graph["name"]: graph for graph in workflow["definitions"]["subgraphs"]}


def info(node: type) -> dict:
    """What the server says of a node."""
    if hasattr(node, "GET_NODE_INFO_V1"):
        return json.loads(json.dumps(node.GET_NODE_INFO_V1()))
    from nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    inputs = node.INPUT_TYPES()
    names = [id for id, known in NODE_CLASS_MAPPINGS.items() if known is node]
    said = {
        "input": inputs,
        "input_order": {group: list(specs) for group, specs in inputs.items()},
        "output": node.RETURN_TYPES,
        "output_name": getattr(node, "RETURN_NAMES", node.RETURN_TYPES),
        "display_name": NODE_DISPLAY_NAME_MAPPINGS.get(names[0], names[0]),
        "output_node": getattr(node, "OUTPUT_NODE", False),
    }
    return json.loads(json.dumps(said))


def skip_without_newer_nodes(workflow: dict, known: Container[str]) -> None:
    kinds = {node["type"] for node in every_node(workflow)}
    if missing := [kind for kind in sorted(kinds & NEWER) if kind not in known]:
        pytest.skip(f"this ComfyUI has no {', '.join(missing)}")


def as_prompt(host, workflow: dict) -> dict:
    """In the form that the server runs."""
    skip_without_newer_nodes(workflow, host.nodes)
    kinds = {node["type"] for node in every_node(workflow)} & host.nodes.keys()
    return to_api(workflow, {kind: info(host.nodes[kind]) for kind in kinds})


def template(host, name: str) -> dict:
    return as_prompt(host, named(name))


def unmuted(workflow: dict) -> dict:
    """With the nodes that are muted until someone needs them."""
    return {**workflow, "nodes": [{**node, "mode": 0} for node in workflow["nodes"]]}


def between_files(blueprint: dict) -> dict:
    """A blueprint's node, its sockets fed by files and its video saved."""
    (box,) = blueprint["nodes"]
    nodes, links = [box], []

    def wire(source: dict, target: dict, slot: dict) -> None:
        slot["link"] = number = 1000 + len(links)
        links.append([number, source["id"], 0, target["id"], target["inputs"].index(slot), slot["type"]])

    for slot in [slot for slot in box["inputs"] if "widget" not in slot]:
        kind = {"IMAGE": "LoadImage", "AUDIO": "LoadAudio", "VIDEO": "LoadVideo"}[slot["type"]]
        media = {
            "id": 1000 + len(nodes),
            "type": kind,
            "inputs": [],
            "outputs": [{"type": slot["type"]}],
            "widgets_values": [""],
        }
        nodes.append(media)
        wire(media, box, slot)
    slot = {"name": "video", "type": "VIDEO"}
    save = {
        "id": 1000 + len(nodes),
        "type": "SaveVideo",
        "inputs": [slot],
        "outputs": [],
        "widgets_values": ["video/blueprint"],
    }
    wire(box, save, slot)
    return {**blueprint, "nodes": [*nodes, save], "links": links}


def node_of(prompt: dict, kind: str) -> dict[str, Any]:
    """The inputs of the one node of a class."""
    (inputs,) = (node["inputs"] for node in prompt.values() if node["class_type"] == kind)
    return inputs


def class_of(prompt: dict, *kinds: str) -> str:
    """The one of these classes that a graph has a node of."""
    (kind,) = {node["class_type"] for node in prompt.values()} & {*kinds}
    return kind


def source(prompt: dict, link: list) -> tuple[str, int]:
    """The class of a node that feeds an input, and of which output."""
    return prompt[link[0]]["class_type"], link[1]


def refused(prompt: dict) -> dict[tuple[str, str | None], str]:
    """What the host's own check has against a graph: node types, links, required inputs, ranges and choices, by class and input.

    That a file is not on this machine is left out.
    """
    import execution

    valid, error, _, node_errors = asyncio.run(execution.validate_prompt("test", prompt, None))
    assert valid or error["type"] == "prompt_outputs_failed_validation", error
    found = {
        (node["class_type"], reason["extra_info"].get("input_name")): reason["details"]
        for node in node_errors.values()
        for reason in node["errors"]
    }
    return {place: why for place, why in found.items() if place not in {*FOLDERS, *MEDIA}}


def built(host) -> dict[str, str]:
    """What sources/templates/build.py writes: each file's path within the pack, and its text."""
    files = runpy.run_path(str(ROOT / "sources/templates/build.py"))["files"]
    return files({kind: info(node) for kind, node in host.nodes.items()})


def under_old_names(models: Path) -> None:
    """The demo's models once more, under the names that the templates of version 0.2.0 ask for."""
    links = {
        "diffusion_models/wan2.1_i2v_480p_14B_fp16.safetensors": "wan2.1_i2v_480p_14B_fp8_scaled.safetensors",
        "wav2vec2/wav2vec2-base-960h": "wav2vec2-base-960h.safetensors",
    }
    for name, target in links.items():
        (models / name).unlink(missing_ok=True)
        (models / name).symlink_to(target)
    weights = load_file(models / "fantasytalking/fantasytalking_fp16.safetensors")
    nested = {"proj_model": {}, "audio_processor": {}}  # as the authors' file is laid out
    for name, value in weights.items():
        if name.startswith("proj_model."):
            nested["proj_model"][name.removeprefix("proj_model.")] = value
        else:
            nested["audio_processor"][name] = value
    (models / "fantasytalking/fantasytalking_model.ckpt").unlink(missing_ok=True)
    torch.save(nested, models / "fantasytalking/fantasytalking_model.ckpt")


def lay_out(base: Path) -> None:
    """A base directory with the demo's packs, inputs and models; its LoRA has random weights: the demo's changes nothing."""
    demo = base_directory()
    for name in ("custom_nodes", "input"):
        (base / name).symlink_to(demo / name)
    for folder in (folder for folder in (demo / "models").iterdir() if folder.is_dir()):
        (base / "models" / folder.name).mkdir(parents=True)
        for file in folder.iterdir():
            (base / "models" / folder.name / file.name).symlink_to(file)
    for path in (base / "models/loras").iterdir():
        generator = torch.Generator().manual_seed(0)
        weights = {key: torch.randn(value.shape, generator=generator) for key, value in load_file(path).items()}
        path.unlink()
        save_file(weights, path)
    under_old_names(base / "models")


@pytest.fixture(scope="module")
def demo_server(tmp_path_factory) -> Iterator[ComfyUI]:
    """A ComfyUI with the demo's models, portrait and speech; what it makes goes into a folder of its own."""
    base = tmp_path_factory.mktemp("demo")
    lay_out(base)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANTASYTALKING_BASE", str(base))
        with ComfyUI(base / "server.log") as running:
            yield running
