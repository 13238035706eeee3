"""What is refused, or said on the node, before a run that would not be worth its time."""

import math
import sys

import pytest
import torch

from support.runs import apply, clip, hear, ksample, sample, speech

FRAMES = 17


def without(conditioning, entry: str):
    return [[text, {key: value for key, value in options.items() if key != entry}] for text, options in conditioning]


def guider(run, model, positive, negative, **settings):
    values = {"text_cfg": 4.0, "audio_cfg": 5.0, "audio_start_percent": 0.0, "audio_end_percent": 1.0}
    return run("FantasyTalkingGuider", model=model, positive=positive, negative=negative, **{**values, **settings})[0]


@pytest.fixture
def warnings(host, monkeypatch):
    """What nodes say on themselves."""
    package = host.nodes["FantasyTalkingSampler"].__module__.rsplit(".", 1)[0]
    said: list[str] = []
    shown = sys.modules[f"{package}.shown"]
    real = shown.text
    monkeypatch.setattr(
        shown, "text", lambda *lines, warnings=(), **more: said.extend(warnings) or real(*lines, warnings=warnings, **more)
    )
    return said


# ------------------------------------------------------------------------------------------------------------- refused


def test_a_positive_without_speech_is_refused_while_the_adapter_has_a_strength(run, model, adapter):
    positive, negative, latent = clip(FRAMES)
    patched = apply(run, model, adapter)
    for start in (lambda: sample(run, patched, positive, negative, latent), lambda: guider(run, patched, positive, negative)):
        with pytest.raises(ValueError, match="carries no speech, and the face would not speak.*or set audio_strength to 0"):
            start()
    guider(run, apply(run, model, adapter, audio_strength=0.0), positive, negative)
    guider(run, model, positive, negative)


@pytest.mark.parametrize("which", [0, 1])
def test_a_conditioning_without_the_portrait_is_refused(host, run, model, adapter, which):
    positive, negative, latent = clip(FRAMES)
    both = list(hear(run, positive, negative, speech(host, FRAMES)))
    both[which] = without(both[which], "concat_latent_image")
    name = ("positive", "negative")[which]
    with pytest.raises(ValueError, match=f"The {name} conditioning carries no portrait.*WanImageToVideo with a start_image"):
        sample(run, apply(run, model, adapter), *both, latent)


def test_two_portraits_are_refused_of_which_one_alone_would_be_followed(host, run, model, adapter):
    import comfy.clip_vision

    positive, negative, latent = clip(FRAMES)
    both = hear(run, positive, negative, speech(host, FRAMES))
    pair = comfy.clip_vision.Output()
    pair["penultimate_hidden_states"] = torch.zeros(2, 257, 1280)
    seen = [[[text, {**options, "clip_vision_output": pair}] for text, options in one] for one in both]
    with pytest.raises(ValueError, match="has seen 2 pictures, and only the first would be followed: wire one portrait"):
        sample(run, apply(run, model, adapter), *seen, latent)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"text_cfg": math.nan}, "text_cfg is nan, expected 0 to 100"),
        ({"audio_cfg": math.inf}, "audio_cfg is inf, expected 0 to 100"),
        ({"audio_start_percent": math.nan}, "is no interval"),
        ({"shift": math.nan}, "shift is nan, expected 0.01 to 1000"),
        ({"shift": 0.0}, "shift is 0.0, expected 0.01 to 1000"),
        ({"denoise": math.nan}, "denoise is nan, expected 0 to 1"),
        ({"denoise": 1e-9}, "denoise is 1e-09, expected 0 or at least"),
        ({"denoise": 1e-9, "scheduler": "simple"}, "denoise is 1e-09, expected 0 or at least"),
        ({"steps": 0}, r"steps is 0, expected 1 to 1000000\."),
    ],
)
def test_numbers_that_pass_the_hosts_limits_are_refused(host, run, model, adapter, setting, said):
    positive, negative, latent = clip(FRAMES)
    heard = hear(run, positive, negative, speech(host, FRAMES))
    with pytest.raises(ValueError, match=said):
        sample(run, apply(run, model, adapter), *heard, latent, **setting)


@pytest.mark.parametrize("name", ["audio_strength", "identity_strength"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 1e30])
def test_so_are_strengths(run, model, adapter, name, value):
    strengths = {"audio_strength": 1.0, "identity_strength": 0.5, name: value}
    with pytest.raises(ValueError, match=rf"{name} is .*, expected 0 to 10"):
        run("FantasyTalkingApplyAdapter", model=model, adapter=adapter, **strengths)


@pytest.mark.parametrize("name", ["model", "positive", "negative", "latent_image"])
@pytest.mark.parametrize("value", [5, "speech", None, [], [[1, 2]]])
def test_a_constant_where_an_output_should_be_wired_is_refused_in_words(host, run, model, adapter, name, value):
    positive, negative, latent = clip(FRAMES)
    heard = hear(run, positive, negative, speech(host, FRAMES))
    inputs = {
        "model": apply(run, model, adapter), "positive": heard[0], "negative": heard[1], "latent_image": latent, name: value,
        "seed": 0, "steps": 1, "text_cfg": 4.0, "audio_cfg": 5.0, "audio_start_percent": 0.0, "audio_end_percent": 1.0,
        "sampler_name": "euler", "scheduler": "fantasytalking", "shift": 5.0, "denoise": 1.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match=rf"^{name} is .*, expected .*: wire"):
        run("FantasyTalkingSampler", **inputs)


@pytest.mark.parametrize(("name", "value"), [("speech", 5), ("identity", "me"), ("motion", {"body": 1}), ("positive", 3)])
def test_so_it_is_in_the_conditioning(host, run, name, value):
    positive, negative, _ = clip(FRAMES)
    inputs = {"positive": positive, "negative": negative, "speech": speech(host, FRAMES), name: value}
    with pytest.raises(ValueError, match=rf"^{name} is .*, expected .*: wire"):
        run("FantasyTalkingConditioning", **inputs)


# ------------------------------------------------------------------------------------- not a number, before any step


def test_speech_of_no_numbers_is_named_before_the_first_step(host, run, model, adapter, watch):
    broken = speech(host, FRAMES)
    broken.tokens[3] = math.nan
    positive, negative, latent = clip(FRAMES)
    with pytest.raises(ValueError, match="The speech holds NaN or infinite numbers"):
        sample(run, watch.on(apply(run, model, adapter)), *hear(run, positive, negative, broken), latent)
    assert not watch.calls


def test_a_weight_of_no_number_is_named_before_the_first_step(host, run, model, adapter, watch):
    with torch.inference_mode():
        adapter.model.audio.blocks[1].v_proj.weight[5, 2] = math.inf
    positive, negative, latent = clip(FRAMES)
    heard = hear(run, positive, negative, speech(host, FRAMES))
    with pytest.raises(ValueError, match=r"The adapter makes NaN or infinite numbers of the speech \(in block 1\)"):
        sample(run, watch.on(apply(run, model, adapter)), *heard, latent, steps=20)
    assert not watch.calls


# ------------------------------------------------------------------------------------------------------ said on the node


def test_a_graph_in_order_says_nothing(host, run, model, adapter, warnings):
    positive, negative, latent = clip(FRAMES)
    sample(run, apply(run, model, adapter), *hear(run, positive, negative, speech(host, FRAMES)), latent, steps=1)
    assert warnings == []


def test_without_clip_vision_the_node_says_so(host, run, model, adapter, warnings):
    positive, negative, _ = clip(FRAMES)
    both = [without(each, "clip_vision_output") for each in hear(run, positive, negative, speech(host, FRAMES))]
    guider(run, apply(run, model, adapter), *both)
    assert len(warnings) == 1 and warnings[0].startswith("No clip_vision_output: the person may look different.")


def test_more_frames_at_once_than_were_trained_are_told_with_their_tokens(host, run, model, adapter, warnings):
    positive, negative, _ = clip(85)
    heard = hear(run, positive, negative, speech(host, 85))
    patched = apply(run, model, adapter)
    guider(run, patched, *heard)
    # 22 latent frames of 4 x 4 latent pixels, of which 2 x 2 are a token
    assert len(warnings) == 1 and "85 frames at once are 88 video tokens" in warnings[0]
    assert warnings[0].endswith("Put Wan Context Windows on the model, or use FantasyTalking Render.")
    warnings.clear()
    windows = run(
        "WanContextWindowsManual", model=patched, context_length=17, context_overlap=4, context_schedule="standard_static",
        context_stride=1, closed_loop=False, fuse_method="pyramid", freenoise=False,
    )[0]  # fmt: skip
    guider(run, windows, *heard)
    assert warnings == []


def test_a_dub_is_not_sent_to_render(host, run, model, adapter, warnings):
    positive, negative, latent = clip(85)
    held = {**latent, "noise_mask": torch.ones(1, 1, 22, 4, 4)}
    sample(run, apply(run, model, adapter), *hear(run, positive, negative, speech(host, 85)), held, steps=1)
    assert len(warnings) == 1 and warnings[0].endswith("Put Wan Context Windows on the model.")


# ----------------------------------------------------------------------------------------- other packs' hooks


def test_a_hook_on_the_hosts_two_passes_is_given_two_and_the_third_is_computed_beside_it(host, run, model, adapter):
    """As the host's SkipLayerGuidanceDiTSimple does it, which takes a pair apart."""
    import comfy.samplers

    seen = []

    def calc(args):
        positive, negative = args["conds"]
        seen.append((positive is not None, negative is not None))
        return comfy.samplers.calc_cond_batch(
            args["model"], [positive, negative], args["input"], args["sigma"], args["model_options"]
        )

    positive, negative, latent = clip(FRAMES)
    heard = hear(run, positive, negative, speech(host, FRAMES))
    patched = apply(run, model, adapter)
    expected = sample(run, patched, *heard, latent)
    hooked = patched.clone()
    hooked.model_options["sampler_calc_cond_batch_function"] = calc
    torch.testing.assert_close(sample(run, hooked, *heard, latent), expected, atol=1e-4, rtol=0)
    assert seen == [(True, True)] * 2


def test_the_hosts_simple_skip_layer_guidance_works(host, run, model, adapter):
    positive, negative, latent = clip(FRAMES)
    heard = hear(run, positive, negative, speech(host, FRAMES))
    skipping = run(
        "SkipLayerGuidanceDiTSimple", model=apply(run, model, adapter), double_layers="1", single_layers="", start_percent=0.0,
        end_percent=1.0,
    )[0]  # fmt: skip
    out = sample(run, skipping, *heard, latent)
    assert torch.isfinite(out).all() and not torch.equal(out, sample(run, apply(run, model, adapter), *heard, latent))


def test_the_hosts_sampler_needs_no_speech(run, model, adapter):
    positive, negative, latent = clip(FRAMES)
    assert torch.isfinite(ksample(run, apply(run, model, adapter), positive, negative, latent)).all()
