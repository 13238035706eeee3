"""The release's numbers, in float32, through the real host's nodes (tolerances: maximum absolute difference)."""

import dataclasses

import pytest
import torch

from support import reference
from support.reference import Case, normalised, numbers, tensors
from support.runs import velocity

CASES = [Case("case_a"), Case("case_b")]
by_name = {"argvalues": CASES, "ids": lambda case: case.name}


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return (ours.float() - theirs).abs().max().item()


def with_projected(host, adapter, case: Case):
    """The adapter and a speech of the reference's recorded projected features, which the projector leaves alone."""
    features = tensors(f"dit/{case.name}")["audio_feat"][0]
    audio = adapter.model.audio
    audio.projector = torch.nn.Identity()
    audio.widths = dataclasses.replace(audio.widths, audio=features.shape[-1])
    return host.core("speech.speech").Speech(features, case.frames, 23.0)


# ---------------------------------------------------------------------------------------------------- predictions

FORMULAS = {  # name of the recorded output: text_cfg, audio_cfg, audio_start_percent, audio_strength
    "pos_audio_flash": (1.0, 1.0, 0.0, 1.0),
    "pos_noaudio": (1.0, 0.0, 0.0, 1.0),
    "guided_flash": (5.0, 5.0, 0.0, 1.0),
    "text_cfg_only_flash": (5.0, 5.0, 1.0, 1.0),
    "audio_cfg_only_flash": (1.0, 5.0, 0.0, 1.0),
    "pos_audio_flash_scale0.5": (1.0, 1.0, 0.0, 0.5),
    "pos_audio_flash_scale2": (1.0, 1.0, 0.0, 2.0),
}


def predict(host, run, model, adapter, case, timestep: float, text_cfg, audio_cfg, start, strength) -> torch.Tensor:
    """The guided velocity at one timestep of 1000."""
    speech = with_projected(host, adapter, case)
    positive, negative = run(
        "FantasyTalkingConditioning", **dict(zip(("positive", "negative"), case.conditioning())), speech=speech
    )
    model = run("FantasyTalkingApplyAdapter", model=model, adapter=adapter, audio_strength=strength, identity_strength=0.5)[0]
    guider = run(
        "FantasyTalkingGuider",
        model=model,
        positive=positive,
        negative=negative,
        text_cfg=text_cfg,
        audio_cfg=audio_cfg,
        audio_start_percent=start,
        audio_end_percent=1.0,
    )[0]
    return velocity(run, guider, tensors(f"dit/{case.name}")["x"], timestep / 1000, case.latent())


@pytest.mark.parametrize("case", **by_name)
@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("name", ["pos_audio_flash", "pos_noaudio", "guided_flash"])
def test_a_prediction_is_the_releases(host, run, model, adapter, case, index, name):
    timestep = numbers(f"dit/{case.name}")["timesteps"][index]
    ours = predict(host, run, model, adapter, case, timestep, *FORMULAS[name])
    assert difference(ours, tensors(f"dit/{case.name}")[f"t{index}.{name}"]) < 1e-3


@pytest.mark.parametrize("name", [name for name in FORMULAS if f"t1.{name}" in tensors("dit/case_a")])
def test_every_formula_of_the_release_is_there(host, run, model, adapter, name):
    case = CASES[0]
    timestep = numbers("dit/case_a")["timesteps"][1]
    ours = predict(host, run, model, adapter, case, timestep, *FORMULAS[name])
    assert difference(ours, tensors("dit/case_a")[f"t1.{name}"]) < 1e-3


def test_three_passes_are_the_releases_formula_of_its_recorded_predictions(host, run, model, adapter):
    """Unequal scales need all three passes; the release recorded each of them."""
    case, recorded = CASES[0], tensors("dit/case_a")
    ours = predict(host, run, model, adapter, case, numbers("dit/case_a")["timesteps"][1], 4.0, 2.5, 0.0, 1.0)
    negative, text, speech = (recorded[f"t1.{name}"] for name in ("neg_noaudio", "pos_noaudio", "pos_audio_flash"))
    assert difference(ours, negative + 4.0 * (text - negative) + 2.5 * (speech - text)) < 1e-3


# ------------------------------------------------------------------------------------------------ sampled latents


def sample(run, model, adapter, case, positive, negative, steps=6):
    model = run("FantasyTalkingApplyAdapter", model=model, adapter=adapter, audio_strength=1.0, identity_strength=0.5)[0]
    return run(
        "FantasyTalkingSampler",
        model=model,
        positive=positive,
        negative=negative,
        latent_image=case.latent(),
        seed=reference.SEED,
        steps=steps,
        text_cfg=5.0,
        audio_cfg=5.0,
        audio_start_percent=0.0,
        audio_end_percent=1.0,
        sampler_name="euler",
        scheduler="fantasytalking",
        shift=5.0,
        denoise=1.0,
    )[0]


@pytest.mark.parametrize("case", **by_name)
def test_sampled_latents_are_the_releases(host, run, model, adapter, case):
    speech = with_projected(host, adapter, case)
    conds = dict(zip(("positive", "negative"), case.conditioning()))
    positive, negative = run("FantasyTalkingConditioning", **conds, speech=speech)
    ours = sample(run, model, adapter, case, positive, negative)
    theirs = case.final("flash.trajectory")[-1:] if case.name == "case_a" else case.final("flash.final")
    assert difference(normalised(ours), theirs) < 1e-3


@pytest.mark.parametrize("case", **by_name)
def test_latents_from_the_wave_are_the_releases(host, run, model, adapter, case):
    wav2vec = run("FantasyTalkingWav2VecLoader", model_name="reference")[0]
    audio = {"waveform": reference.pcm()[None], "sample_rate": 16000}
    speech, _, length, _ = run(
        "FantasyTalkingEncodeSpeech", wav2vec=wav2vec, audio=audio, fps=23.0, length=case.frames, start_time=0.0
    )
    conds = dict(zip(("positive", "negative"), case.conditioning()))
    positive, negative = run("FantasyTalkingConditioning", **conds, speech=speech)
    assert length == case.frames
    assert difference(normalised(sample(run, model, adapter, case, positive, negative)), case.final("e2e_flash.final")) < 1e-3
