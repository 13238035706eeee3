"""Trying the pack out before any download: small models, portraits and recordings that come with it, presets."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from support import ROOT
from support.graphs import choices, put, rejection
from support.reference import FOLDER
from support.runs import Watch, sample

SMALL, EXAMPLE, PRESET = "FantasyTalkingSmallModels", "FantasyTalkingExample", "FantasyTalkingPreset"
TRAINED = ROOT / "sources/drawn_world/models"
HINT = "small demo model: knows drawn people only"


@pytest.fixture(scope="module")
def small(host):
    """The node's five outputs."""
    with torch.inference_mode():
        return host.nodes[SMALL].execute().args


def said(host, node_id: str, **inputs) -> list[str]:
    """The lines that a node shows on itself."""
    with torch.inference_mode():
        return host.nodes[node_id].execute(**inputs).ui.as_dict()["text"][0].split("\n")


def conditioned(run, small, frames: int = 5):
    """Positive, negative and latent of a drawn person who speaks, by the host's nodes on the small models."""
    _, clip, vae, clip_vision, wav2vec = small
    portrait, recording = run(EXAMPLE, portrait="Ada (drawn)", recording="Hello, I am a small model (woman)")
    speech = run("FantasyTalkingEncodeSpeech", wav2vec=wav2vec, audio=recording, fps=23.0, length=frames, start_time=0.0)[0]
    positive, negative = (run("CLIPTextEncode", clip=clip, text=text)[0] for text in ("A person speaks.", ""))
    positive, negative, latent = run(
        "WanImageToVideo",
        positive=positive,
        negative=negative,
        vae=vae,
        width=96,
        height=96,
        length=frames,
        batch_size=1,
        start_image=portrait,
        clip_vision_output=run("CLIPVisionEncode", clip_vision=clip_vision, image=portrait, crop="none")[0],
    )
    return *run("FantasyTalkingConditioning", positive=positive, negative=negative, speech=speech), latent


# ----------------------------------------------------------------------------------------------------- small models


def test_the_small_models_are_those_that_the_loaders_give(host, run, models, small):
    """The same weights and strengths, and so the same video to the bit."""
    put(TRAINED / "dit.safetensors", models / "diffusion_models" / "small_dit.safetensors")
    put(TRAINED / "adapter.safetensors", models / "fantasytalking" / "small_adapter.safetensors")
    put(TRAINED / "vae.safetensors", models / "vae" / "small_vae.safetensors")
    put(TRAINED / "wav2vec2", models / "wav2vec2" / "small")
    model, clip, vae, clip_vision, wav2vec = small
    loaded = (
        run(
            "FantasyTalkingDiTLoader",
            dit_name="small_dit.safetensors",
            weight_dtype="default",
            adapter_name="small_adapter.safetensors",
        )[0],
        clip,
        run("VAELoader", vae_name="small_vae.safetensors")[0],
        clip_vision,
        run("FantasyTalkingWav2VecLoader", model_name="small")[0],
    )
    videos = [
        run("VAEDecode", samples={"samples": sample(run, outputs[0], *conditioned(run, outputs))}, vae=outputs[2])[0]
        for outputs in (small, loaded)
    ]
    assert videos[0].shape == (5, 96, 96, 3) and torch.equal(*videos)


def test_the_adapter_hears_and_knows_faces_at_the_published_strengths(host, small):
    applied = host.core("host.patch").applied(small[0])
    assert (applied.audio_strength, applied.identity_strength) == (1.0, 0.5)
    assert applied.adapter.identity is not None and applied.adapter.motion is not None


def test_the_node_says_what_they_know(host):
    from drawn_world import SIZE

    assert said(host, SMALL) == [f"small demo models: know only drawn people of {SIZE}×{SIZE} pixels"]


def test_no_loader_lists_them(host, small):
    """They are read from the pack's own folder: the lists hold what people have put there."""
    loaders = {"UNETLoader": "unet_name", "VAELoader": "vae_name"}
    listed = [
        *(name for node, input in loaders.items() for name in host.nodes[node].INPUT_TYPES()["required"][input][0]),
        *choices(host, "FantasyTalkingAdapterLoader", "adapter_name"),
        *choices(host, "FantasyTalkingWav2VecLoader", "model_name"),
    ]
    ours = {"dit.safetensors", "vae.safetensors", "adapter.safetensors", "wav2vec2"}
    assert listed and not ours & {Path(name).name for name in listed}


PARTS = ("adapter.safetensors", "dit.safetensors", "vae.safetensors", "wav2vec2")


@pytest.fixture
def own(host, monkeypatch, tmp_path) -> Path:
    """A copy of the pack's folder of small models, in its place."""
    folder = put(TRAINED, tmp_path / "models")
    load = host.core("host.small_models").load_small_models
    monkeypatch.setattr(host.core("host.small_models"), "load_small_models", lambda: load(folder))
    return folder


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_file_is_told_with_its_folder(host, run, own, name):
    shutil.rmtree(own / name) if (own / name).is_dir() else (own / name).unlink()
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(SMALL)
    assert str(error.value) == f"The pack's own file '{name}' is missing from {own}: install the pack again."


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("damage", ["cut", "another file", "empty"])
def test_a_damaged_file_is_told_with_its_folder(host, run, own, name, damage):
    file = own / name if name.endswith(".safetensors") else own / name / "model.safetensors"
    whole = file.read_bytes()
    if damage == "another file":
        save_file({"weight": torch.zeros(2)}, file)
    else:
        file.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(SMALL)
    message = str(error.value)
    assert message.startswith(f"The pack's own file '{name}' in {own} can't be read (")
    assert message.endswith("): install the pack again.") and len(message) < 300 + len(str(own))


def test_an_interruption_stays_the_hosts(host, run, monkeypatch):
    import comfy.model_management
    import comfy.sd

    def interrupted(*args, **kwargs):
        raise comfy.model_management.InterruptProcessingException

    monkeypatch.setattr(comfy.sd, "load_diffusion_model", interrupted)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(SMALL)


# --------------------------------------------------------------------------------------------- portraits, recordings


def table(host, name: str) -> dict[str, str]:
    return getattr(host.core("host.example_media"), name)


def test_every_portrait_is_as_load_image_gives_it(host, run, base_directory):
    names = choices(host, EXAMPLE, "portrait")
    assert len(names) == 7 and sum("(drawn)" in name for name in names) == 6
    for name in names:
        file = ROOT / "demo" / table(host, "PORTRAITS")[name]
        put(file, base_directory / "input" / f"example_{file.name}")
        found = run(EXAMPLE, portrait=name, recording="Hello, I am a small model (woman)")[0]
        expected = run("LoadImage", image=f"example_{file.name}")[0]
        assert found.shape == expected.shape and found.dtype == expected.dtype, name
        difference = (found - expected).abs()  # two decoders of JPEG differ at the edges of colours
        assert difference.mean() < 0.004 if file.suffix == ".jpg" else difference.max() < 1e-6, name


def test_every_recording_is_as_load_audio_gives_it(host, run, base_directory):
    names = choices(host, EXAMPLE, "recording")
    assert len(names) == 5
    for name in names:
        file = ROOT / "demo" / table(host, "RECORDINGS")[name]
        put(file, base_directory / "input" / f"example_{file.name}")
        found = run(EXAMPLE, portrait="Ada (drawn)", recording=name)[1]
        expected = run("LoadAudio", audio=f"example_{file.name}")[0]
        assert found["sample_rate"] == expected["sample_rate"], name
        assert torch.equal(found["waveform"], expected["waveform"]), name
        seconds = found["waveform"].shape[-1] / found["sample_rate"]
        assert found["waveform"].shape[:2] == (1, 1) and 2.5 <= seconds <= 4 and file.stat().st_size < 150_000, name


def test_drawn_people_are_of_the_size_that_the_small_models_know(host, run):
    from drawn_world import SIZE

    for name, file in table(host, "PORTRAITS").items():
        if file.startswith("drawn_"):
            found = run(EXAMPLE, portrait=name, recording="Hello, I am a small model (woman)")[0]
            assert found.shape == (1, SIZE, SIZE, 3)


@pytest.mark.parametrize("name", ["../dev.py", "portrait.jpg", "/etc/passwd", ""])
def test_only_the_names_of_the_list_are_taken(host, name):
    listed = {"portrait": "Ada (drawn)", "recording": "Hello, I am a small model (woman)"}
    assert rejection(EXAMPLE, **listed) == ""
    for input_name in listed:
        assert rejection(EXAMPLE, **{**listed, input_name: name}).startswith(f"{input_name}: {name!r} not in ")


@pytest.mark.parametrize("name", ["Bob", "../dev.py", 3, None])
def test_a_name_that_is_wired_in_and_unknown_is_told_with_the_list(host, run, name):
    """The host checks only what is chosen on the node."""
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(EXAMPLE, portrait=name, recording="Hello, I am a small model (woman)")
    assert str(error.value).startswith(f"There is no portrait '{name}': choose one of Ada (drawn), Nora (drawn), ")
    with pytest.raises(host.core("errors").FantasyTalkingError, match=f"There is no recording '{name}': choose one of Hello"):
        run(EXAMPLE, portrait="Ada (drawn)", recording=name)
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(PRESET, preset=name)
    assert str(error.value) == f"There is no preset '{name}': choose one of quality, fast, preview."


def test_the_chosen_portrait_is_shown_on_the_node(host):
    shown = host.nodes[EXAMPLE].execute("Nora (drawn)", "Hello, I am a small model (woman)").ui.as_dict()["images"]
    folder = Path(host.folder_paths.get_temp_directory())
    with Image.open(folder / shown[0]["filename"]) as seen, Image.open(ROOT / "demo/drawn_nora.png") as drawn:
        assert len(shown) == 1 and np.array_equal(np.asarray(seen), np.asarray(drawn))


def test_missing_and_damaged_media_are_told(host, run, monkeypatch, tmp_path):
    monkeypatch.setattr(host.core("host.example_media"), "FOLDER", tmp_path)
    inputs = {"portrait": "Ada (drawn)", "recording": "Hello, I am a small model (woman)"}
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(EXAMPLE, **inputs)
    assert str(error.value) == (f"The pack's own file 'drawn_portrait.png' is missing from {tmp_path}: install the pack again.")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "drawn_portrait.png")
    (tmp_path / "drawn_speech.wav").write_bytes(b"no sound")
    with pytest.raises(host.core("errors").FantasyTalkingError, match="'drawn_speech.wav' in .* can't be read"):
        run(EXAMPLE, **inputs)
    (tmp_path / "drawn_portrait.png").write_bytes(b"no picture")
    with pytest.raises(host.core("errors").FantasyTalkingError, match="'drawn_portrait.png' in .* can't be read"):
        run(EXAMPLE, **inputs)


# ----------------------------------------------------------------------------------------------------------- presets


@pytest.mark.parametrize(
    ("preset", "values", "lines"),
    [
        (
            "quality",
            (30, 5.0, 5.0, 1, 512),
            ["60 passes of the model in 30 steps", "longest edge 512 pixels", "scales 5 and 5: as published"],
        ),
        (
            "fast",
            (20, 5.0, 5.0, 2, 512),
            [
                "31 passes of the model in 20 steps",
                "longest edge 512 pixels",
                "scales 5 and 5: half the passes of the published setting",
            ],
        ),
        (
            "preview",
            (10, 5.0, 5.0, 2, 384),
            [
                "16 passes of the model in 10 steps",
                "longest edge 384 pixels",
                "scales 5 and 5: a quick look, not the final picture",
            ],
        ),
    ],
)
def test_a_preset_gives_its_values_and_says_what_they_are(host, run, preset, values, lines):
    found = run(PRESET, preset=preset)
    assert found == values and [type(value) for value in found] == [int, float, float, int, int]
    assert said(host, PRESET, preset=preset) == lines


def test_the_passes_that_a_preset_tells_are_those_that_the_sampler_runs(host, run, small):
    watch = Watch()
    steps, text_cfg, audio_cfg, every, _ = run(PRESET, preset="preview")
    inputs = {"steps": steps, "text_cfg": text_cfg, "audio_cfg": audio_cfg, "guidance_every": every}
    sample(run, watch.on(small[0]), *conditioned(run, small), **inputs)
    told = int(said(host, PRESET, preset="preview")[0].split()[0])
    assert sum(len(call["passes"]) for call in watch.calls) == told


# -------------------------------------------------------------------------------- what a file says of itself: loaders

DIT, ADAPTER = "FantasyTalkingDiTLoader", "FantasyTalkingAdapterLoader"
REFERENCE = {"dit_name": "reference_wan_i2v.safetensors", "weight_dtype": "default", "adapter_name": "reference.safetensors"}


@pytest.mark.parametrize("name", ["dit", "vae", "adapter"])
def test_the_small_files_say_what_they_are_for(name):
    with safe_open(TRAINED / f"{name}.safetensors", framework="pt") as file:
        assert file.metadata()["modelspec.usage_hint"] == HINT


def test_the_loaders_show_it_once_and_first(host, models):
    put(TRAINED / "dit.safetensors", models / "diffusion_models" / "small_dit.safetensors")
    put(TRAINED / "adapter.safetensors", models / "fantasytalking" / "small_adapter.safetensors")
    lines = said(host, DIT, dit_name="small_dit.safetensors", weight_dtype="default", adapter_name="small_adapter.safetensors")
    assert lines[0] == HINT and lines.count(HINT) == 1 and len(lines) == 2
    assert said(host, ADAPTER, adapter_name="small_adapter.safetensors") == lines


def test_files_that_say_nothing_are_as_before(host):
    assert said(host, ADAPTER, adapter_name="reference.safetensors") == said(host, DIT, **REFERENCE)
    assert len(said(host, DIT, **REFERENCE)) == 1


def test_a_hint_is_one_short_line(host, models):
    stored = load_file(FOLDER / "fantasytalking" / "fantasytalking_tiny.safetensors")
    path = models / "fantasytalking" / "talkative.safetensors"
    save_file(stored, path, {"modelspec.usage_hint": "Use the word\nhello " + "again and again " * 50})
    first, *others = said(host, ADAPTER, adapter_name="talkative.safetensors")
    assert first.startswith("Use the word hello again and again") and first.endswith("…") and len(first) == 80
    assert len(others) == 1


def test_a_hint_holds_no_markup_for_the_page(host, models):
    stored = load_file(FOLDER / "fantasytalking" / "fantasytalking_tiny.safetensors")
    save_file(stored, models / "fantasytalking" / "markup.safetensors", {"modelspec.usage_hint": "<b>look</b>"})
    assert said(host, ADAPTER, adapter_name="markup.safetensors")[0] == "‹b›look‹/b›"
