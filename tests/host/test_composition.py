"""Beside everything else that a graph may hold: the host's own features and other packs' patches."""

import collections
import copy
import itertools

import pytest
import torch
from safetensors.torch import save_file

from support import reference
from support.runs import apply, clip, hear, ksample, sample, sample_with, speech


def close(ours, theirs, tolerance=1e-4):
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


# ------------------------------------------------------------------------------------------- without any speech


@pytest.mark.parametrize("batch", [1, 2])
def test_without_speech_ksampler_is_bit_identical_and_no_speech_attention_runs(run, model, adapter, watch, batch):
    positive, negative, latent = clip(17, batch=batch)
    assert torch.equal(
        ksample(run, apply(run, model, adapter), positive, negative, latent), ksample(run, model, positive, negative, latent)
    )
    assert not watch.windows


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_without_speech_our_sampler_is_bit_identical_to_the_hosts_guidance(run, model, adapter, cfg):
    positive, negative, latent = clip(17)
    silent = apply(run, model, adapter, audio_strength=0.0)
    ours = sample(run, silent, positive, negative, latent, text_cfg=cfg, scheduler="simple", shift=8.0)
    assert torch.equal(ours, ksample(run, model, positive, negative, latent, cfg))


@pytest.mark.parametrize("sampler", [ksample, sample])
def test_at_strength_zero_it_is_bit_identical_and_no_speech_attention_runs(host, run, model, adapter, watch, sampler):
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    silent = apply(run, model, adapter, audio_strength=0.0)
    assert torch.equal(sampler(run, silent, *heard, latent), sampler(run, model, positive, negative, latent))
    assert not watch.windows


def test_ksampler_hears_the_speech_in_its_positive_pass(host, run, model, adapter, watch):
    """Two passes: e(0,n) + cfg·[e(a,p) − e(0,n)], the guider's own with both scales equal."""
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    patched = apply(run, model, adapter)
    ours = ksample(run, patched, *heard, latent, cfg=4.0)
    assert watch.windows
    close(ours, sample(run, patched, *heard, latent, text_cfg=4.0, audio_cfg=4.0, scheduler="simple", shift=8.0), 1e-5)


# ------------------------------------------------------------------------------------------------------- batching


def test_positive_and_negative_with_the_same_speech_are_one_batch(host, run, model, adapter, watch):
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    batched = sample(run, watch.on(apply(run, model, adapter)), *heard, latent, audio_end_percent=0.0)
    assert [call["rows"] for call in watch.calls] == [2, 2]

    import comfy.conds

    apart = [[positive[0][0], {**heard[0][0][1]}]]  # a key of its own keeps the host from batching it
    apart[0][1]["model_conds"] = {**apart[0][1]["model_conds"], "apart": comfy.conds.CONDConstant("x")}
    watch.calls.clear()
    patched = apply(run, model, adapter)

    def drop(executor, *args, apart=None, **kwargs):
        return executor(*args, **kwargs)

    patched.add_wrapper_with_key("apply_model", "drop", drop)
    guider_class = host.core("host.guider").FantasyTalkingGuider
    guidance = host.core("sampling.guidance").Guidance(4.0, 5.0, 0.0, 0.0)
    guider = guider_class(watch.on(patched), apart, negative, guidance)
    single = sample_with(run, guider, latent, steps=2)
    assert [call["rows"] for call in watch.calls] == [1, 1, 1, 1]
    close(batched, single)


def test_every_latent_of_a_batch_hears_the_speech(host, run, model, adapter, watch):
    positive, negative, latent = clip(17, batch=2)
    heard = hear(run, positive, negative, speech(host, 17))
    patched = apply(run, model, adapter)
    both = sample(run, patched, *heard, latent)
    assert both.shape[0] == 2
    alone = sample(run, patched, *heard, {"samples": latent["samples"][:1]})
    close(both[:1], alone)  # the host draws the first latent's noise first


# ----------------------------------------------------------------------------------------- guider and one-box node


def test_one_box_and_guider_give_identical_latents(host, run, model, adapter):
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    patched = apply(run, model, adapter)
    interval = {"text_cfg": 4.0, "audio_cfg": 5.0, "audio_start_percent": 0.25, "audio_end_percent": 0.75}
    one_box = sample(run, patched, *heard, latent, steps=4, **interval)
    guider = run("FantasyTalkingGuider", model=patched, positive=heard[0], negative=heard[1], **interval)[0]
    separate = sample_with(run, guider, latent, steps=4)
    assert torch.equal(one_box, separate)


def test_with_heun_the_interval_is_found_from_the_sigma_not_from_the_number_of_calls(host, run, model, adapter, watch):
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    patched = watch.on(apply(run, model, adapter))
    sample(run, patched, *heard, latent, steps=4, sampler_name="heun", audio_end_percent=0.5)
    sigmas = run("FantasyTalkingScheduler", steps=4, shift=5.0, denoise=1.0)[0].tolist()
    by_call = [
        (sigma, sorted(itertools.chain(*(call["passes"] for call in calls))))
        for sigma, calls in itertools.groupby(watch.calls, key=lambda call: call["sigma"])
    ]
    three, two = [0, 1, 2], [0, 1]
    expected = [(sigmas[0], three), (sigmas[1], three + three), (sigmas[2], two + two), (sigmas[3], two + two)]
    assert [(pytest.approx(sigma), sorted(passes)) for sigma, passes in expected] == by_call


def test_a_host_scheduler_is_used_with_this_shift(host, run, model, adapter, watch):
    positive, negative, latent = clip(5)
    patched = watch.on(apply(run, model, adapter, audio_strength=0.0))
    sample(run, patched, positive, negative, latent, steps=4, scheduler="simple", shift=3.0, text_cfg=1.0)
    shifted = run("ModelSamplingSD3", model=model, shift=3.0)[0]
    sigmas = run("BasicScheduler", model=shifted, scheduler="simple", steps=4, denoise=1.0)[0]
    assert [call["sigma"] for call in watch.calls] == pytest.approx(sigmas[:-1].tolist())


def test_two_speeches_in_combined_prompts_are_each_heard(host, run, model, adapter, watch):
    positive, negative, latent = clip(17)
    first, _ = hear(run, positive, negative, speech(host, 17, seed=3))
    second, _ = hear(run, positive, negative, speech(host, 17, seed=4))
    patched = apply(run, model, adapter)
    both = ksample(run, patched, first + second, negative, latent, steps=1)
    one, two = (ksample(run, patched, which, negative, latent, steps=1) for which in (first, second))
    assert (one - two).abs().max() > 1e-2
    close(both, (one + two) / 2)


# ------------------------------------------------------------------------------------------------ context windows


@pytest.mark.parametrize("retain_first_frame", [False, True])
def test_each_context_window_hears_its_own_speech(host, run, model, adapter, watch, retain_first_frame):
    if "retain_first_frame" not in {item.id for item in host.nodes["WanContextWindowsManual"].define_schema().inputs}:
        pytest.skip("context windows keep the causal anchor frame from ComfyUI 0.27.0 on")
    frames = 81
    voice = speech(host, frames)
    positive, negative, latent = clip(frames)
    heard = hear(run, positive, negative, voice)
    windowed = run(
        "WanContextWindowsManual",
        model=watch.on(apply(run, model, adapter)),
        context_length=33,
        context_overlap=8,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        freenoise=False,
        retain_first_frame=retain_first_frame,
        split_conds_to_windows=False,
    )[0]
    sample(run, windowed, *heard, latent, steps=1, audio_cfg=4.0)
    with_speech = [call for call in watch.calls if 0 in call["passes"]]
    assert len(with_speech) > 2 and any(len(call["frames"]) == 10 for call in with_speech)  # 9 and the causal anchor
    blocks = len(model.model.diffusion_model.blocks)
    assert len(watch.windows) == blocks * len(with_speech)
    for call, windows in zip(with_speech, watch.windows[::blocks]):
        assert torch.equal(windows[0], voice.windows()[call["frames"]])


def test_adapter_after_the_context_windows_gives_the_same(host, run, model, adapter):
    positive, negative, latent = clip(33)
    heard = hear(run, positive, negative, speech(host, 33))

    def windows(of):
        return run(
            "WanContextWindowsManual",
            model=of,
            context_length=17,
            context_overlap=4,
            context_schedule="standard_static",
            context_stride=1,
            closed_loop=False,
            fuse_method="pyramid",
            freenoise=True,
        )[0]

    before = sample(run, apply(run, windows(model), adapter), *heard, latent)
    assert torch.equal(before, sample(run, windows(apply(run, model, adapter)), *heard, latent))


# --------------------------------------------------------------------------------------- LoRA, quantisation, caches


def test_with_a_lora_it_is_the_same_as_on_merged_weights(host, run, model, adapter, tmp_path):
    generator = torch.Generator().manual_seed(7)
    down, up = torch.randn(4, 256, generator=generator) / 16, torch.randn(256, 4, generator=generator)
    name = "blocks.1.cross_attn.q"
    path = tmp_path / "lora.safetensors"
    save_file({f"diffusion_model.{name}.lora_A.weight": down, f"diffusion_model.{name}.lora_B.weight": up}, path)

    import comfy.sd
    import comfy.utils

    with_lora, _ = comfy.sd.load_lora_for_models(model, None, comfy.utils.load_torch_file(str(path)), 1.0, 1.0)
    merged = dict(reference.tensors("dit/wan_i2v_tiny"))
    merged[f"{name}.weight"] = merged[f"{name}.weight"] + up @ down
    merged = comfy.sd.load_diffusion_model_state_dict(merged)
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    ours = sample(run, apply(run, with_lora, adapter), *heard, latent)
    close(ours, sample(run, apply(run, merged, adapter), *heard, latent))
    assert (ours - sample(run, apply(run, model, adapter), *heard, latent)).abs().max() > 1e-2


def test_with_fp8_weights_it_is_the_same_as_on_those_weights_in_float32(host, run, adapter):
    import comfy.sd

    small = run("UNETLoader", unet_name="reference_wan_i2v.safetensors", weight_dtype="fp8_e4m3fn")[0]
    weights = small.model.diffusion_model.state_dict()
    assert weights["blocks.0.ffn.0.weight"].dtype == torch.float8_e4m3fn
    large = comfy.sd.load_diffusion_model_state_dict({key: value.float() for key, value in weights.items()})
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    close(
        sample(run, apply(run, small, adapter), *heard, latent), sample(run, apply(run, large, adapter), *heard, latent), 1e-3
    )


def easy_cache(run, model, threshold):
    return run("EasyCache", model=model, reuse_threshold=threshold, start_percent=0.0, end_percent=1.0, verbose=False)[0]


def test_with_easycache_that_never_skips_nothing_changes(host, run, model, adapter):
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    patched = apply(run, model, adapter)
    assert torch.equal(
        sample(run, easy_cache(run, patched, 0.0), *heard, latent, steps=4), sample(run, patched, *heard, latent, steps=4)
    )


def test_easycache_skips_steps_of_all_three_passes(host, run, model, adapter, watch):
    """Skipped calls compute no speech attention either."""
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    steps, computed = 10, collections.Counter()
    first, *others = model.model.diffusion_model.blocks

    def count(module, args, kwargs):
        computed.update(kwargs["transformer_options"]["cond_or_uncond"])

    hook = first.register_forward_pre_hook(count, with_kwargs=True)
    try:
        out = sample(run, easy_cache(run, apply(run, model, adapter), 3.0), *heard, latent, steps=steps)
    finally:
        hook.remove()
    assert torch.isfinite(out).all()
    assert all(0 < computed[which] < steps for which in (0, 1, 2))
    assert len(watch.windows) == computed[0] * (1 + len(others))


# ------------------------------------------------------------------------------------------------- other patches


@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_beside_another_packs_attention_override_both_run(host, run, model, adapter, watch, first):
    calls = []

    def override(func, *args, **kwargs):
        calls.append(args[0].shape)
        return func(*args, **kwargs)

    def theirs(of):
        of = of.clone()
        of.model_options["transformer_options"]["optimized_attention_override"] = override
        return of

    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    both = apply(run, theirs(model), adapter) if first == "theirs" else theirs(apply(run, model, adapter))
    ours = sample(run, both, *heard, latent)
    assert calls and watch.windows
    assert torch.equal(ours, sample(run, apply(run, model, adapter), *heard, latent))


def test_an_adapter_that_is_applied_again_replaces_the_first(host, run, model, adapter):
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    twice = apply(run, apply(run, model, adapter, 1.0), adapter, 0.5)
    assert torch.equal(sample(run, twice, *heard, latent), sample(run, apply(run, model, adapter, 0.5), *heard, latent))


def test_the_model_that_was_wired_in_stays_as_it_was(host, run, model, adapter):
    positive, negative, latent = clip(17)
    before = copy.copy(model.model_options["transformer_options"])
    sample(run, apply(run, model, adapter), *hear(run, positive, negative, speech(host, 17)), latent)
    assert model.model_options["transformer_options"] == before
    assert not model.wrappers and not model.additional_models


def test_frames_that_another_node_appends_hear_nothing(host, run, model, adapter, watch):
    """`time_dim_concat` lengthens the clip inside the model; the speech covers its first frames."""
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    longer = [[text, {**about, "time_dim_concat": torch.randn(1, 36, 2, 4, 4)}] for text, about in heard[0]]
    import comfy.model_base

    with pytest.MonkeyPatch.context() as patch:  # the latent format knows 16 channels, the appended frames have all
        patch.setattr(comfy.model_base.WAN21, "process_latent_in", lambda self, x: x)
        out = ksample(run, apply(run, model, adapter), longer, negative, latent, steps=1)
    assert torch.isfinite(out).all()
    assert {tuple(shape) for shape in watch.queries} == {(1, 5 * 4, 256)}


# ------------------------------------------------------------------------------------------------------ two devices


@pytest.mark.parametrize("split_first", [False, True])
def test_on_two_devices_both_hear_and_neither_holds_the_adapter(host, run, model, adapter, monkeypatch, split_first):
    """Two devices, simulated on the CPU: `cpu` and `cpu:0` are different to the host's scheduler."""
    import comfy.model_management

    used = []

    def wrapper(executor, *args, **kwargs):
        loaded = [one.model.model for one in comfy.model_management.current_loaded_models]
        assert loaded and not any(adapter.model is one for one in loaded)
        used.append(str(executor.class_obj.current_patcher.load_device))
        return executor(*args, **kwargs)

    def split(of):
        of = of.clone()
        other = of.deepclone_multigpu(new_load_device=torch.device("cpu", 0))
        other.is_multigpu_base_clone = True
        of.set_additional_models("multigpu", [other])
        of.match_multigpu_clones()
        return of

    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    expected = sample(run, apply(run, model, adapter), *heard, latent)
    two = apply(run, split(model), adapter) if split_first else split(apply(run, model, adapter))
    two.add_wrapper_with_key("apply_model", "used", wrapper)
    close(sample(run, two, *heard, latent), expected)
    assert len(set(used)) == 2
