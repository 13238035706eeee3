"""The pack in a running ComfyUI, over its HTTP API: from a 16 kHz wave file to the release's latents."""

import re
from pathlib import Path

import pytest
from host import ComfyUI
from safetensors.torch import load_file

from support.client import queue
from support.reference import SEED, Case, normalised

NODES = {
    "FantasyTalkingDiTLoader",
    "FantasyTalkingAdapterLoader",
    "FantasyTalkingApplyAdapter",
    "FantasyTalkingWav2VecLoader",
    "FantasyTalkingEncodeSpeech",
    "FantasyTalkingConditioning",
    "FantasyTalkingGuider",
    "FantasyTalkingScheduler",
    "FantasyTalkingSampler",
    "FantasyTalkingCropFace",
    "FantasyTalkingFaceEncoderLoader",
    "FantasyTalkingEncodeFace",
    "FantasyTalkingEncodeFaceCLIP",
    "FantasyTalkingMotionIntensity",
    "FantasyTalkingMotionFromVideo",
    "FantasyTalkingPreviewSpeech",
    "FantasyTalkingRender",
    "FantasyTalkingSpeakerMasks",
    "FantasyTalkingSpeakerTurns",
    "FantasyTalkingMouthMask",
    "FantasyTalkingDubLatent",
    "FantasyTalkingSmallModels",
    "FantasyTalkingExample",
    "FantasyTalkingPreset",
}


@pytest.fixture(scope="module")
def server(base_directory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANTASYTALKING_BASE", str(base_directory))
        with ComfyUI(base_directory / "server.log") as running:
            yield running


def graph(case: Case, steps: int = 6, **changes) -> dict:
    nodes = {
        "model": (
            "FantasyTalkingDiTLoader",
            {"dit_name": "reference_wan_i2v.safetensors", "weight_dtype": "default", "adapter_name": "reference.safetensors"},
        ),
        "wav2vec": ("FantasyTalkingWav2VecLoader", {"model_name": "reference"}),
        "audio": ("LoadAudio", {"audio": "speech.wav"}),
        "speech": (
            "FantasyTalkingEncodeSpeech",
            {"wav2vec": ["wav2vec", 0], "audio": ["audio", 0], "fps": 23.0, "length": case.frames, "start_time": 0.0},
        ),
        "case": ("FTTestReferenceCase", {"case": case.name}),
        "conditioning": (
            "FantasyTalkingConditioning",
            {"positive": ["case", 0], "negative": ["case", 1], "speech": ["speech", 0]},
        ),
        "sampler": (
            "FantasyTalkingSampler",
            {
                "model": ["model", 0],
                "positive": ["conditioning", 0],
                "negative": ["conditioning", 1],
                "latent_image": ["case", 2],
                "seed": SEED,
                "steps": steps,
                "text_cfg": 5.0,
                "audio_cfg": 5.0,
                "audio_start_percent": 0.0,
                "audio_end_percent": 1.0,
                "sampler_name": "euler",
                "scheduler": "fantasytalking",
                "shift": 5.0,
                "denoise": 1.0,
            },
        ),
        "save": ("SaveLatent", {"samples": ["sampler", 0], "filename_prefix": case.name}),
    }
    for name, inputs in changes.items():
        nodes[name][1].update(inputs)
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def saved(run, base_directory: Path):
    file = run.outputs["save"]["latents"][0]
    return normalised({"samples": load_file(base_directory / "output" / file["subfolder"] / file["filename"])["latent_tensor"]})


@pytest.mark.parametrize("name", ["case_a", "case_b"])
def test_from_the_wave_to_the_releases_latents(server, base_directory, name):
    run = queue(server.address, graph(Case(name)))
    assert (saved(run, base_directory) - Case(name).final("e2e_flash.final")).abs().max() < 1e-3


def test_progress_and_preview_are_those_of_the_hosts_sampler(server):
    run = queue(server.address, graph(Case("case_a"), sampler={"seed": SEED + 1}), preview_method="latent2rgb")
    steps = [data["value"] for data in run.of("progress") if data["node"] == "sampler"]
    assert steps[-1] == 6 and steps == sorted(steps)
    assert run.previews > 0


def test_an_interruption_ends_the_run_and_the_next_one_is_unaffected(server, base_directory):
    run = queue(server.address, graph(Case("case_a"), steps=2000), interrupt_at="sampler")
    assert run.of("execution_interrupted")
    assert len(run.of("progress")) < 2000
    after = queue(server.address, graph(Case("case_a"), save={"filename_prefix": "after"}, sampler={"denoise": 1.0}))
    assert (saved(after, base_directory) - Case("case_a").final("e2e_flash.final")).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speech": {"start_time": 60.0}}, "start_time is 60 s, expected 0 or more and less than"),
        ({"speech": {"length": 33}}, "latent is for 17 frames, the speech for 33"),
    ],
)
def test_wrong_input_is_said_to_the_artist(server, changes, message):
    run = queue(server.address, graph(Case("case_a"), **changes))
    assert message in run.error
    assert run.of("execution_error")[0]["exception_type"] == "fantasytalking.FantasyTalkingError"  # and no path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": {"adapter_name": "gone.safetensors"}},
            "adapter_name: 'gone.safetensors' not in",
        ),
        ({"wav2vec": {"model_name": "gone"}}, "model_name: 'gone' not in"),
        ({"speech": {"length": 18}}, "length is 18, expected 4n + 1 frames and at least 5"),
        ({"sampler": {"audio_start_percent": 0.9, "audio_end_percent": 0.1}}, "from 0.9 to 0.1 is no interval: expected"),
        ({"sampler": {"audio_end_percent": 1.5}}, "from 0 to 1.5 is no interval: expected"),
        ({"speech": {"fps": 0.0}}, "Value 0.0 smaller than min of 1.0"),
        ({"speech": {"fps": 1e6}}, "Value 1000000.0 bigger than max of 120.0"),
    ],
)
def test_what_can_be_known_is_refused_before_anything_runs(server, changes, message):
    run = queue(server.address, graph(Case("case_a"), **changes))
    assert run.status == 400
    assert message in str(run.answer["node_errors"])


def test_the_host_imports_the_pack(server, base_directory):
    """How long it takes is asked of benchmarks/import_time.py."""
    log = (base_directory / "server.log").read_text(errors="replace")
    (failed,) = re.search(r"seconds( \(IMPORT FAILED\))?: \S*/FantasyTalking\n", log).groups()
    assert not failed


def test_every_node_and_input_is_explained(host):
    ours = {name: node for name, node in host.nodes.items() if name.startswith("FantasyTalking") and "Demo" not in name}
    assert set(ours) == NODES
    for name, node in ours.items():
        schema = node.define_schema()
        assert schema.description and schema.search_aliases and schema.category.startswith("FantasyTalking/"), name
        assert all(item.tooltip for item in [*schema.inputs, *schema.outputs]), name
