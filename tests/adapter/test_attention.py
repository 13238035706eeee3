"""Audio cross-attention: against the release's block, against the plain formula, on every attention of the host."""

import dataclasses

import pytest
import torch

from fantasytalking_core.adapter.attention import clip_attention, window_attention
from fantasytalking_core.speech.windows import PADDING, window_map
from support.reference import numbers, tensors

HEADS, FRAMES, PER_FRAME, TOKENS, WIDTH = 2, 5, 6, 36, 32


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q kᵀ / √d) v per head of `[N, C]` and `[L, C]`, in float64."""
    out = []
    for qh, kh, vh in zip(*(t.double().chunk(HEADS, -1) for t in (q, k, v))):
        out.append(torch.softmax(qh @ kh.T / qh.shape[-1] ** 0.5, -1) @ vh)
    return torch.cat(out, -1).float()


def rows(seed: int, batch: int = 1) -> torch.Tensor:
    """Keys or values with the zero row at the end."""
    return torch.nn.functional.pad(random(batch, TOKENS, WIDTH, seed=seed), (0, 0, 0, 1))


def frame_by_frame(q, k, v, windows):
    out = []
    for item in range(q.shape[0]):
        for frame, window in enumerate(windows[min(item, len(windows) - 1)]):
            heard = window[window != PADDING]
            kv = [t[min(item, len(t) - 1)][heard] for t in (k, v)]
            queries = q[item, frame * PER_FRAME : (frame + 1) * PER_FRAME]
            out.append(plain(queries, *kv) if len(heard) else torch.zeros_like(queries))
    return torch.cat(out).reshape(q.shape)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_latent_frame_attends_to_its_own_window_and_never_to_padding(batch):
    q, k, v = random(batch, FRAMES * PER_FRAME, WIDTH, seed=1), rows(2), rows(3)
    windows = window_map(TOKENS, 17)[None]
    assert (windows == PADDING).any()
    ours = window_attention(q, k, v, windows, HEADS)
    torch.testing.assert_close(ours, frame_by_frame(q, k, v, windows), atol=1e-5, rtol=0)


def test_each_clip_of_a_batch_has_its_own_speech_and_windows():
    q, k, v = random(2, FRAMES * PER_FRAME, WIDTH, seed=1), rows(2, 2), rows(3, 2)
    windows = torch.stack([window_map(TOKENS, 17), window_map(35, 17)])
    ours = window_attention(q, k, v, windows, HEADS)
    torch.testing.assert_close(ours, frame_by_frame(q, k, v, windows), atol=1e-5, rtol=0)


def test_a_window_without_any_token_adds_nothing():
    q, k, v = random(1, PER_FRAME, WIDTH, seed=1), rows(2), rows(3)
    ours = window_attention(q, k, v, torch.full((1, 1, 17), PADDING), HEADS)
    assert torch.equal(ours, torch.zeros_like(ours))


def test_at_clip_level_every_video_token_attends_to_every_audio_token():
    q, k, v = random(1, FRAMES * PER_FRAME, WIDTH, seed=1), rows(2), rows(3)
    ours = clip_attention(q, k, v, HEADS)
    torch.testing.assert_close(ours[0], plain(q[0], k[0, :-1], v[0, :-1]), atol=1e-5, rtol=0)


def test_at_clip_level_shorter_clips_of_a_batch_are_masked():
    q, k, v = random(2, PER_FRAME, WIDTH, seed=1), rows(2, 2), rows(3, 2)
    ours = clip_attention(q, k, v, HEADS, lengths=torch.tensor([TOKENS, 20]))
    torch.testing.assert_close(ours[1], plain(q[1], k[1, :20], v[1, :20]), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours[0], plain(q[0], k[0, :-1], v[0, :-1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["attention_basic", "attention_sub_quad", "attention_split", "attention_pytorch"])
def test_every_attention_of_the_host_honours_the_mask(host, name):
    from comfy.ldm.modules import attention

    q, k, v = random(2, FRAMES * PER_FRAME, WIDTH, seed=1), rows(2), rows(3)
    windows = window_map(TOKENS, 17)[None]
    ours = window_attention(q, k, v, windows, HEADS, attention=getattr(attention, name))
    torch.testing.assert_close(ours, frame_by_frame(q, k, v, windows), atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------- the release's block


def block(host, model, adapter, windows, speech):
    """The reference block's cross-attention on the host, with the speech in it as at sampling."""
    index = numbers("block/cross_attn")["block_index"]
    data = tensors("block/cross_attn")
    call_module, keys_values = host.core("host.model_call"), host.core("adapter.keys_values")
    voices = ()
    if speech is not None:
        with torch.inference_mode():
            of_speech = keys_values.of_speech(adapter.model.audio, speech.tokens, torch.device("cpu"), torch.float32)
        voices = (call_module.Voice(of_speech, windows),)
    call = call_module.Call(
        voices=voices,
        face=None,
        audio_strength=1.0,
        identity_strength=0.5,
        frames=5,
        tokens_per_frame=numbers("block/cross_attn")["tokens_per_latent_frame"],
    )
    dit = model.model.diffusion_model
    with torch.inference_mode(), host.core("host.cross_attention").joined(dit, call):
        return dit.blocks[index].cross_attn(data["x"], data["context"], context_img_len=257)


@pytest.mark.parametrize(("recorded", "level"), [("out_noaudio", None), ("out_flash", "frame"), ("out_clip3d", "clip")])
def test_one_block_is_the_releases(host, model, adapter, recorded, level):
    features = tensors("block/cross_attn")["audio_feat"][0]
    audio = adapter.model.audio
    audio.projector = torch.nn.Identity()
    audio.widths = dataclasses.replace(audio.widths, audio=features.shape[-1])
    speech = host.core("speech.speech").Speech(features, 17, 23.0) if level else None
    windows = speech.windows()[None] if level == "frame" else None
    ours = block(host, model, adapter, windows, speech)
    assert (ours - tensors("block/cross_attn")[recorded]).abs().max() < 1e-4


def test_attending_to_padding_would_be_far_from_the_release():
    """The two flavours of the release differ by much more than the tolerances: a mask that fails is seen."""
    data = tensors("block/cross_attn")
    assert (data["out_flash"] - data["out_sdpa"]).abs().max() > 0.1
