"""Speech that counts for a part of the steps or of the video, several speeches, and other packs' guidance."""

import logging

import pytest
import torch

from support.reference import Case, numbers, tensors
from support.runs import apply, clip, hear, ksample, sample, speech, velocity


def ranged(run, conditioning, start, end):
    return run("ConditioningSetTimestepRange", conditioning=conditioning, start=start, end=end)[0]


# ------------------------------------------------------------------------------------------------- when and where


def test_an_area_of_the_video_hears_its_own_frames(host, run, model, adapter, watch):
    """The second half in time of 5 latent frames, as the host cuts the latent: frames 2 to 4."""
    positive, negative, latent = clip(17)
    heard, _ = hear(run, positive, negative, voice := speech(host, 17))
    area = run(
        "ConditioningSetAreaPercentageVideo",
        conditioning=heard,
        width=1.0,
        height=1.0,
        temporal=0.6,
        x=0.0,
        y=0.0,
        z=0.4,
        strength=1.0,
    )[0]
    out = ksample(run, apply(run, model, adapter), area, negative, latent, steps=1)
    assert torch.isfinite(out).all()
    assert watch.windows and all(torch.equal(windows[0], voice.windows()[2:5]) for windows in watch.windows)


def test_two_areas_of_one_speech_each_hear_their_own_frames(host, run, model, adapter, watch):
    positive, negative, latent = clip(13)
    heard, _ = hear(run, positive, negative, voice := speech(host, 13))
    halves = [
        run(
            "ConditioningSetAreaPercentageVideo",
            conditioning=heard,
            width=1.0,
            height=1.0,
            temporal=0.5,
            x=0.0,
            y=0.0,
            z=z,
            strength=1.0,
        )[0]
        for z in (0.0, 0.5)
    ]
    ksample(run, apply(run, model, adapter), halves[0] + halves[1], negative, latent, steps=1)
    seen = {tuple(windows[0].flatten().tolist()) for windows in watch.windows}
    assert seen == {tuple(part.flatten().tolist()) for part in (voice.windows()[:2], voice.windows()[2:])}


def test_each_of_two_speeches_in_turn_is_heard_by_the_negative_too(host, run, model, adapter, watch):
    """Outside of the interval e(a,n) hears what e(a,p) hears at that step."""
    positive, negative, latent = clip(17)
    first, second = (hear(run, positive, negative, speech(host, 17, seed=seed))[0] for seed in (3, 4))
    both = ranged(run, first, 0.0, 0.5) + ranged(run, second, 0.5, 1.0)
    guider = host.core("host.guider").FantasyTalkingGuider(
        apply(run, model, adapter), both, negative, host.core("sampling.guidance").Guidance(4.0, 5.0, 0.0, 0.0)
    )

    def voices(name):
        items = guider.original_conds[name]
        return [
            (id(item["model_conds"]["fantasytalking_speech"].cond), item["start_percent"], item["end_percent"])
            for item in items
        ]

    assert voices("negative_speech") == voices("positive")
    assert len(set(voices("positive"))) == 2


def test_denoise_below_one_keeps_the_speech(host, run, model, adapter, watch):
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    start = {"samples": torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(2))}
    patched = watch.on(apply(run, model, adapter))
    out = sample(run, patched, *heard, start, steps=3, denoise=0.5, audio_cfg=4.0)
    sigmas = numbers("schedule")["sigmas"]["6"][3:6]
    assert sorted({call["sigma"] for call in watch.calls}, reverse=True) == pytest.approx(sigmas)
    assert torch.isfinite(out).all() and watch.windows


def test_at_clip_level_the_model_predicts_what_the_release_does(host, run, model, adapter):
    """Stage 1: no window map, every video token attends to the whole speech."""
    import dataclasses

    case, recorded = Case("case_a"), tensors("dit/case_a")
    audio = adapter.model.audio
    audio.projector = torch.nn.Identity()
    audio.widths = dataclasses.replace(audio.widths, audio=512)
    conditioning = host.core("host.conditioning")
    whole = host.core("speech.speech").Speech(recorded["audio_feat"][0], case.frames, 23.0)
    positive, negative = case.conditioning()
    positive = conditioning.with_entries(
        positive, conditioning.entries_of(host.core("speech.speaker").Speaker(whole), clip_level=True)
    )
    sigma = numbers("dit/case_a")["timesteps"][1] / 1000

    guider = run("BasicGuider", model=apply(run, model, adapter), conditioning=positive)[0]
    ours = velocity(run, guider, recorded["x"], sigma, case.latent())
    assert (ours - recorded["t1.pos_clip3d"]).abs().max() < 1e-3


def test_after_a_reference_image_the_speech_goes_to_the_video(host, run, adapter, watch):
    """Models with a reference convolution put the image's tokens in front; they hear nothing."""
    from test_wrong_models import wan

    model = wan(in_dim_ref_conv=16)
    positive, negative, latent = clip(17)
    heard, _ = hear(run, positive, negative, speech(host, 17))
    heard = [[text, {**about, "reference_latents": [torch.zeros(1, 16, 1, 4, 4)]}] for text, about in heard]
    out = ksample(run, apply(run, model, adapter), heard, negative, latent, steps=1)
    assert torch.isfinite(out).all()
    assert {tuple(shape) for shape in watch.queries} == {(1, 5 * 4, 256)}


def test_in_bfloat16_it_is_the_same_to_bfloat16s_precision(host, run, model, adapter, watch):
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    exact = sample(run, apply(run, model, adapter), *heard, latent, steps=1)
    silent = sample(run, apply(run, model, adapter, 0.0), *heard, latent, steps=1)
    rounded = run("ModelComputeDtype", model=apply(run, model, adapter), dtype="bf16")[0]
    ours = sample(run, rounded, *heard, latent, steps=1)
    assert watch.windows
    error, effect = (ours - exact).std(), (exact - silent).std()
    assert 0 < error < effect / 10


# ------------------------------------------------------------------------------------- other packs' guidance


def test_beside_a_guidance_patch_equal_scales_are_the_limit_of_unequal_ones(host, run, model, adapter):
    """CFG-Zero* changes the text guidance; then e(0,p) does not cancel out, and is run."""
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    patched = run("CFGZeroStar", model=apply(run, model, adapter))[0]
    equal = sample(run, patched, *heard, latent, text_cfg=5.0, audio_cfg=5.0)
    nearly = sample(run, patched, *heard, latent, text_cfg=5.0, audio_cfg=5.0001)
    torch.testing.assert_close(equal, nearly, atol=1e-2, rtol=0)


@pytest.mark.parametrize(("end", "negative_hears"), [(1.0, False), (0.0, True)])
def test_a_patch_that_wants_the_negative_pass_gets_the_one_of_the_formula(host, run, model, adapter, end, negative_hears):
    seen = []

    def look(args):
        seen.append(["fantasytalking_speech" in cond[0]["model_conds"] for cond in args["conds"]])
        return args["conds_out"]

    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    patched = apply(run, model, adapter)
    patched.set_model_sampler_pre_cfg_function(look, disable_cfg1_optimization=True)
    sample(run, patched, *heard, latent, text_cfg=1.0, audio_cfg=5.0, audio_end_percent=end)
    assert [negative for _, negative in seen] == [negative_hears] * 2


def test_flash_attention_is_not_asked_for_masks(host, run, model, adapter, monkeypatch, caplog):
    """It has none, and the host would warn in every block of every call: the speech takes PyTorch's attention."""
    from comfy.ldm.modules import attention
    from comfy.ldm.wan import model as wan_model

    monkeypatch.setattr(
        attention,
        "flash_attn_wrapper",
        lambda q, k, v, **kwargs: attention.attention_pytorch(*(t.flatten(2) for t in (q, k, v)), q.shape[2]).unflatten(
            2, q.shape[2:]
        ),
    )
    monkeypatch.setattr(wan_model, "optimized_attention", attention.attention_flash)
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    with caplog.at_level(logging.WARNING):
        out = sample(run, apply(run, model, adapter), *heard, latent)
    monkeypatch.undo()
    assert "Flash Attention failed" not in caplog.text
    torch.testing.assert_close(out, sample(run, apply(run, model, adapter), *heard, latent), atol=1e-4, rtol=0)


# ------------------------------------------------------------------------------------------------------ mis-wirings


def test_speech_in_the_negative_is_an_error(host, run, model, adapter):
    positive, negative, latent = clip(17)
    heard, _ = hear(run, positive, negative, speech(host, 17))
    with pytest.raises(ValueError, match="The speech is in the negative conditioning: swap positive and negative"):
        sample(run, apply(run, model, adapter), negative, heard, latent)


def test_calls_for_different_latent_frames_are_not_batched(host):
    places = host.core("host.conditioning").Places
    first, second = (places(torch.tensor([frames])) for frames in ([0, 1], [2, 3]))
    assert first.can_concat(places(first.cond.clone())) and not first.can_concat(second)
