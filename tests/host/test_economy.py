"""Guidance every few steps, and easing in silence: off nothing changes, on it is the formula."""

import pytest
import torch

from support.runs import Watch, apply, clip, hear, sample, speech

FRAMES, STEPS = 17, 6


def silent_from(host, latent_frame: int):
    """Speech whose sound ends, so that from this latent frame on none is heard."""
    voice = speech(host, FRAMES)
    loudness = torch.full((FRAMES,), 0.5)
    loudness[4 * latent_frame - 5 :] = 0.0
    module = host.core("speech.speech")
    sound = module.Sound(torch.zeros(FRAMES * 8, 2), loudness, FRAMES / 23)
    quiet = module.Speech(voice.tokens, voice.frames, voice.fps, sound)
    assert quiet.speaking().tolist() == [frame < latent_frame for frame in range(5)]
    return quiet


@pytest.fixture
def given(host, run, model, adapter):
    positive, negative, latent = clip(FRAMES)

    def given(voice=None, watch=None):
        patched = apply(run, model, adapter)
        heard = hear(run, positive, negative, speech(host, FRAMES) if voice is None else voice)
        return patched if watch is None else watch.on(patched), *heard, latent

    return given


@pytest.mark.parametrize("settings", [{}, {"text_cfg": 5.0}, {"text_cfg": 1.0}, {"audio_end_percent": 0.5}])
def test_off_and_without_silence_it_is_bit_identical(run, given, settings):
    before = sample(run, *given(), steps=STEPS, **settings)
    assert torch.equal(sample(run, *given(), steps=STEPS, guidance_every=1, ease_in_silence=True, **settings), before)
    assert torch.equal(sample(run, *given(), steps=STEPS, ease_in_silence=False, **settings), before)


@pytest.mark.parametrize(("every", "passes"), [(1, 18), (2, 14), (3, 14)])
def test_a_step_between_is_one_pass(run, given, every, passes):
    """Of six steps 0, 1, 3, 5 are three passes; or 0, 1, 4, 5."""
    watch = Watch()
    sample(run, *given(watch=watch), steps=STEPS, guidance_every=every)
    assert sum(len(call["passes"]) for call in watch.calls) == passes


def test_with_heun_it_goes_by_steps_and_not_by_calls(run, given):
    """11 calls; those at the sigmas of steps 2 and 4 are one pass: the second of steps 1 and 3, and their own first ones."""
    watch = Watch()
    sample(run, *given(watch=watch), steps=STEPS, guidance_every=2, sampler_name="heun")
    by_sigma = {}
    for call in watch.calls:
        by_sigma.setdefault(call["sigma"], []).append(len(call["passes"]))
    assert [sum(calls) for _, calls in sorted(by_sigma.items(), reverse=True)] == [3, 6, 2, 6, 2, 6]


def test_between_it_is_the_prediction_and_what_guidance_added_last(host, run, given, monkeypatch):
    """Written out with the passes' own predictions."""
    import comfy.samplers

    real, steps = comfy.samplers.calc_cond_batch, []
    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", lambda *args: (steps.append(real(*args)), steps[-1])[1])
    guiders = host.core("host.guider").FantasyTalkingGuider
    predict, results = guiders.predict_noise, []
    monkeypatch.setattr(guiders, "predict_noise", lambda *a, **k: (results.append(predict(*a, **k)), results[-1])[1])
    sample(run, *given(), steps=STEPS, guidance_every=2, text_cfg=4.0, audio_cfg=5.0)
    assert [len(out) for out in steps] == [3, 3, 1, 3, 1, 3]
    heard, negative, text = steps[1]
    expected = steps[2][0] + (negative + 4 * (text - negative) + 5 * (heard - text)) - heard
    torch.testing.assert_close(results[2], expected, atol=1e-5, rtol=0)


def test_at_the_intervals_border_a_step_is_full(run, given):
    watch = Watch()
    sample(run, *given(watch=watch), steps=STEPS, guidance_every=10, audio_end_percent=0.5)
    by_sigma = {}
    for call in watch.calls:
        by_sigma[call["sigma"]] = by_sigma.get(call["sigma"], 0) + len(call["passes"])
    assert [by_sigma[sigma] for sigma in sorted(by_sigma, reverse=True)] == [3, 3, 1, 2, 1, 2]


def test_the_next_run_begins_anew(run, given):
    model, *rest = given()
    first = sample(run, model, *rest, steps=STEPS, guidance_every=2)
    assert torch.equal(sample(run, model, *rest, steps=STEPS, guidance_every=2), first)


def test_beside_a_node_that_changes_the_guidance_it_is_refused(run, given):
    model, *rest = given()
    patched = run("CFGZeroStar", model=model)[0]
    with pytest.raises(ValueError, match="guidance_every is 2, and another node on the model changes the guidance"):
        sample(run, patched, *rest, guidance_every=2)
    sample(run, patched, *rest, guidance_every=1)


@pytest.mark.parametrize(("text_cfg", "passes"), [(4.0, 3), (5.0, 3), (1.0, 2)])
def test_in_silence_the_speechs_scale_is_one(host, run, given, monkeypatch, text_cfg, passes):
    """Per latent frame, written out with the passes' own predictions; also where equal scales would have saved the pass."""
    import comfy.samplers

    real, steps, results = comfy.samplers.calc_cond_batch, [], []
    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", lambda *args: (steps.append(real(*args)), steps[-1])[1])
    guiders = host.core("host.guider").FantasyTalkingGuider
    predict = guiders.predict_noise
    monkeypatch.setattr(guiders, "predict_noise", lambda *a, **k: (results.append(predict(*a, **k)), results[-1])[1])
    sample(run, *given(silent_from(host, 3)), steps=1, text_cfg=text_cfg, audio_cfg=5.0, ease_in_silence=True)
    out = [each for each in steps[0] if each.any()]
    assert len(out) == passes
    heard, text = out[0], out[-1]
    guided = text if text_cfg == 1 else out[1] + text_cfg * (text - out[1])
    for scale, frames in ((5.0, slice(0, 3)), (1.0, slice(3, 5))):
        expected = (guided + scale * (heard - text))[:, :, frames]
        torch.testing.assert_close(results[0][:, :, frames], expected, atol=1e-5, rtol=0)


def test_eased_context_windows_and_render_parts_know_the_whole_clips_silence(host, run, given):
    quiet = silent_from(host, 3)
    assert quiet.part([0, 2, 3, 4]).speaking().tolist() == [True, True, False, False]
    model, *rest = given(quiet)
    windowed = run(
        "WanContextWindowsManual", model=model, context_length=9, context_overlap=4, context_schedule="standard_static",
        context_stride=1, closed_loop=False, fuse_method="pyramid", freenoise=False,
    )[0]  # fmt: skip
    eased, plain = (sample(run, windowed, *rest, steps=1, ease_in_silence=ease) for ease in (True, False))
    assert torch.equal(eased[:, :, :3], plain[:, :, :3]) and not torch.allclose(eased[:, :, 3:], plain[:, :, 3:])
