"""Keys and values: once per sampling run and token, before its first step, and gone afterwards."""

import gc
import weakref

import pytest
import torch

from support.runs import apply, clip, hear, ksample, sample, speech


@pytest.fixture
def computed(host, monkeypatch) -> list[int]:
    """Rows of tokens of which keys and values were computed, per block and computation."""
    key_value = host.core("adapter.attention").KeyValue
    real, rows = key_value.forward, []

    def counted(self, tokens):
        rows.append(tokens.shape[1] - 1)  # without the zero row
        return real(self, tokens)

    monkeypatch.setattr(key_value, "forward", counted)
    return rows


@pytest.fixture
def kept(host, monkeypatch) -> list[weakref.ref]:
    """The keys that a run makes."""
    key_value = host.core("adapter.attention").KeyValue
    real, refs = key_value.forward, []

    def noted(self, tokens):
        pair = real(self, tokens)
        refs.append(weakref.ref(pair[0]))
        return pair

    monkeypatch.setattr(key_value, "forward", noted)
    return refs


def alive(refs: list[weakref.ref]) -> int:
    gc.collect()
    assert refs, "nothing was ever made"
    return sum(ref() is not None for ref in refs)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_they_are_computed_once_per_run_and_block_and_token(host, run, model, adapter, computed, sampler):
    positive, negative, latent = clip(17)
    voice = speech(host, 17)
    heard = hear(run, positive, negative, voice)
    sample(run, apply(run, model, adapter), *heard, latent, steps=4, sampler_name=sampler, audio_end_percent=0.5)
    assert computed == [len(voice.tokens)] * 2  # two blocks


def test_the_next_run_computes_them_anew(host, run, model, adapter, computed):
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    patched = apply(run, model, adapter)
    for _ in range(2):
        ksample(run, patched, *heard, latent)
    assert len(computed) == 4


def long_clip(host, run):
    """A speech whose keys and values stay in main memory."""
    frames = 4 * 220 + 1
    voice = speech(host, frames)
    assert len(voice.tokens) > host.core("adapter.keys_values").ON_DEVICE
    positive, negative, latent = clip(frames)
    return voice, hear(run, positive, negative, voice), latent


def windowed(run, model):
    return run(
        "WanContextWindowsManual",
        model=model,
        context_length=81,
        context_overlap=0,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        freenoise=False,
    )[0]


def test_those_of_a_long_speech_are_computed_once_too_and_a_call_takes_what_it_hears(
    host, run, model, adapter, computed, watch
):
    voice, heard, latent = long_clip(host, run)
    sample(run, windowed(run, apply(run, model, adapter)), *heard, latent, steps=1, audio_cfg=4.0)
    assert computed == [len(voice.tokens)] * 2
    taken = {tuple(windows.shape) for windows in watch.windows}
    assert taken and all(frames <= 22 for _, frames, _ in taken)  # a window's, and its anchor


def test_wherever_they_are_the_result_is_the_same(host, run, model, adapter, monkeypatch):
    _, heard, latent = long_clip(host, run)
    patched = windowed(run, apply(run, model, adapter))
    taken = sample(run, patched, *heard, latent, steps=1)
    monkeypatch.setattr(host.core("adapter.keys_values"), "ON_DEVICE", 10**6)
    assert torch.equal(sample(run, patched, *heard, latent, steps=1), taken)


def test_they_are_there_before_the_first_step(host, run, model, adapter, computed):
    positive, negative, latent = clip(17)
    heard, calls = hear(run, positive, negative, speech(host, 17)), []
    patched = apply(run, model, adapter)
    patched.add_wrapper_with_key(
        "apply_model", "seen", lambda executor, *a, **k: (calls.append(len(computed)), executor(*a, **k))[1]
    )
    sample(run, patched, *heard, latent, steps=1)
    assert calls and set(calls) == {2}


def test_nothing_stays_when_the_run_has_ended(host, run, model, adapter, kept):
    positive, negative, latent = clip(17)
    sample(run, apply(run, model, adapter), *hear(run, positive, negative, speech(host, 17)), latent)
    assert alive(kept) == 0


@pytest.mark.parametrize("ends_with", ["failure", "interruption"])
def test_nothing_stays_when_the_run_fails_or_is_interrupted_and_the_next_one_is_unaffected(
    host, run, model, adapter, kept, ends_with
):
    import comfy.model_management

    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    patched = apply(run, model, adapter)
    expected = sample(run, patched, *heard, latent)
    error = RuntimeError if ends_with == "failure" else comfy.model_management.InterruptProcessingException
    broken, calls = patched.clone(), []

    def wrapper(executor, *args, **kwargs):
        calls.append(1)
        out = executor(*args, **kwargs)
        if len(calls) == 3:
            raise error()
        return out

    broken.add_wrapper_with_key("apply_model", "broken", wrapper)
    with pytest.raises(error):
        sample(run, broken, *heard, latent)
    assert alive(kept) == 0
    assert torch.equal(sample(run, patched, *heard, latent), expected)
