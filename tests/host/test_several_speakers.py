"""Several speakers, each heard where their mask is: against the sum written out, and in everything that a graph may hold."""

import pytest
import torch
from safetensors.torch import save_file

from support.runs import Watch, apply, clip, compiled, hear, sample, speech

FRAMES, LATENTS, SIDE = 17, 5, 4
"""Of a clip of 32 × 32 pixels: 5 latent frames of 2 × 2 tokens."""
PER_FRAME, HEADS = 4, 2


def mask_of(kind: str, number: int, speakers: int) -> torch.Tensor:
    """A speaker's part of the picture, 32 × 32 pixels, in strips from left to right."""
    generator = torch.Generator().manual_seed(number)
    if kind == "soft":
        return torch.rand(1, 32, 32, generator=generator)
    if kind == "moving":
        return torch.rand(FRAMES, 32, 32, generator=generator)
    mask = torch.zeros(1, 32, 32)
    mask[:, :, 32 * number // speakers : 32 * (number + 1) // speakers] = 1
    return mask


def at_tokens(mask: torch.Tensor) -> torch.Tensor:
    """`[T·S]`: the mean over a token's 16 × 16 pixels and its latent frame's frames, pixel by pixel."""
    rows = []
    for latent in range(LATENTS):
        frames = [0] if latent == 0 else list(range(4 * latent - 3, 4 * latent + 1))
        for y in range(0, 32, 16):
            for x in range(0, 32, 16):
                rows.append(torch.stack([mask[frame % len(mask), y : y + 16, x : x + 16] for frame in frames]).double().mean())
    return torch.stack(rows)


def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q kᵀ / √d) v per head, in float64."""
    out = []
    for qh, kh, vh in zip(*(t.double().chunk(HEADS, -1) for t in (q, k, v))):
        out.append(torch.softmax(qh @ kh.T / qh.shape[-1] ** 0.5, -1) @ vh)
    return torch.cat(out, -1)


class Block:
    """A block's cross-attention of the DiT, called by itself, and what comes to its output projection."""

    def __init__(self, host, model, adapter, batch: int) -> None:
        self.host, self.adapter, self.dit = host, adapter.model, model.model.diffusion_model
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(batch, LATENTS * PER_FRAME, self.dit.dim, generator=generator)
        self.context = torch.randn(batch, 257 + 20, self.dit.dim, generator=generator)

    def __call__(self, *speakers) -> torch.Tensor:
        calls = self.host.core("host.model_call")
        prepare = self.host.core("host.prepared").Preparation(self.adapter, torch.device("cpu"), torch.float32, SIDE, SIDE)
        seen = []
        with torch.inference_mode():
            call = calls.Call(prepare.voices(speakers, True), None, 1.0, 0.5, LATENTS, PER_FRAME)
            attention = self.dit.blocks[1].cross_attn
            with self.host.core("host.cross_attention").joined(self.dit, call, 1):
                hook = attention.o.register_forward_hook(lambda module, args, out: seen.append(args[0]))
                attention(self.x, self.context, context_img_len=257)
                hook.remove()
        return seen[0]

    def heard(self, voice) -> torch.Tensor:
        """`[B, T·S, C]` in float64, frame by frame, by the published weights."""
        audio, out = self.adapter.audio, []
        with torch.inference_mode():
            q = self.dit.blocks[1].cross_attn.norm_q(self.dit.blocks[1].cross_attn.q(self.x))
            k, v = audio.blocks[1](audio.projector(voice.tokens))
        for row in q:
            parts = []
            for frame, window in enumerate(voice.windows()):
                heard = window[window >= 0]
                parts.append(attended(row[frame * PER_FRAME : (frame + 1) * PER_FRAME], k[heard], v[heard]))
            out.append(torch.cat(parts))
        return torch.stack(out)


def speaker(host, voice, mask=None, strength=1.0):
    return host.core("speech.speaker").Speaker(voice, mask, strength)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", ["hard", "soft", "moving"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_block_gets_the_sum_of_what_all_say_where_their_masks_are(host, model, adapter, count, kind, batch):
    block = Block(host, model, adapter, batch)
    voices = [speech(host, FRAMES, seed) for seed in range(count)]
    masks, strengths = [mask_of(kind, number, count) for number in range(count)], [1.0, 0.5, 2.0, 1.5]
    ours = block(*(speaker(host, *each) for each in zip(voices, masks, strengths)))
    expected = block().double()
    for voice, mask, strength in zip(voices, masks, strengths):
        expected += strength * at_tokens(mask)[None, :, None] * block.heard(voice)
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_person_does_not_hear_another_ones_speech(host, model, adapter):
    """Exactly: in a block, what comes to the one's tokens stays to the bit when the other one says something else."""
    block = Block(host, model, adapter, 1)
    left, right = mask_of("hard", 0, 2), mask_of("hard", 1, 2)
    said = [
        block(speaker(host, speech(host, FRAMES, 1), left), speaker(host, speech(host, FRAMES, other), right))
        for other in (2, 3)
    ]
    is_left = at_tokens(left).bool()
    assert torch.equal(said[0][:, is_left], said[1][:, is_left])
    assert not torch.allclose(said[0][:, ~is_left], said[1][:, ~is_left])


def test_where_no_mask_is_nothing_is_added(host, model, adapter):
    block, corner = Block(host, model, adapter, 1), torch.zeros(1, 32, 32)
    corner[:, :16, :16] = 1
    is_corner = at_tokens(corner).bool()
    ours, without = block(speaker(host, speech(host, FRAMES), corner)), block()
    assert torch.equal(ours[:, ~is_corner], without[:, ~is_corner])
    assert not torch.allclose(ours[:, is_corner], without[:, is_corner])


# ----------------------------------------------------------------------------------------------------- whole graphs


def together(host, run, voice, *masks):
    """The conditioning of a clip in which speakers with these masks say the same."""
    positive, negative, latent = clip(voice.frames)
    for mask in masks:
        positive, _ = run("FantasyTalkingConditioning", positive=positive, negative=negative, speech=voice, mask=mask)
    return positive, negative, latent


def plain(run, model, tmp_path):
    return model


def with_lora(run, model, tmp_path):
    import comfy.sd
    import comfy.utils

    generator = torch.Generator().manual_seed(7)
    down, up = torch.randn(4, 256, generator=generator) / 16, torch.randn(256, 4, generator=generator)
    name, path = "diffusion_model.blocks.1.cross_attn.q", tmp_path / "lora.safetensors"
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, path)
    return comfy.sd.load_lora_for_models(model, None, comfy.utils.load_torch_file(str(path)), 1.0, 1.0)[0]


def in_fp8(run, model, tmp_path):
    return run("UNETLoader", unet_name="reference_wan_i2v.safetensors", weight_dtype="fp8_e4m3fn")[0]


def traced(run, model, tmp_path):
    torch._dynamo.reset()
    return compiled(model, "aot_eager", ["diffusion_model"])


def on_two_devices(run, model, tmp_path):
    model = model.clone()
    other = model.deepclone_multigpu(new_load_device=torch.device("cpu", 0))
    other.is_multigpu_base_clone = True
    model.set_additional_models("multigpu", [other])
    model.match_multigpu_clones()
    return model


@pytest.mark.parametrize("of", [plain, with_lora, in_fp8, traced, on_two_devices])
def test_one_who_is_heard_everywhere_is_the_unmasked_one_and_two_halves_are_a_whole(host, run, model, adapter, tmp_path, of):
    voice, patched = speech(host, FRAMES), apply(run, of(run, model, tmp_path), adapter)
    unmasked = sample(run, patched, *together(host, run, voice, None))
    everywhere = sample(run, patched, *together(host, run, voice, torch.ones(1, 32, 32)))
    assert torch.equal(everywhere, unmasked)
    halves = sample(run, patched, *together(host, run, voice, mask_of("hard", 0, 2), mask_of("hard", 1, 2)))
    torch.testing.assert_close(halves, unmasked, atol=1e-3, rtol=0)
    left = sample(run, patched, *together(host, run, voice, mask_of("hard", 0, 2)))
    assert (left - unmasked).abs().max() > 0.1


def test_every_context_window_has_its_own_part_of_a_moving_mask(host, run, model, adapter, monkeypatch):
    voice, calls, masks = speech(host, 33), host.core("host.model_call"), []
    real = calls.token_mask
    monkeypatch.setattr(calls, "token_mask", lambda mask: (masks.append(mask), real(mask))[1])
    moving = torch.rand(33, 32, 32, generator=torch.Generator().manual_seed(3))
    windowed = run(
        "WanContextWindowsManual", model=apply(run, model, adapter), context_length=17, context_overlap=4,
        context_schedule="standard_static", context_stride=1, closed_loop=False, fuse_method="pyramid", freenoise=False,
    )[0]  # fmt: skip
    watch = Watch()
    sample(run, watch.on(windowed), *together(host, run, voice, moving), steps=1)
    heard = [call["frames"] for call in watch.calls if 0 in call["passes"]]
    assert len({tuple(frames) for frames in heard}) > 1
    assert len(masks) == len(heard)
    for frames, mask in zip(heard, masks):
        expected = [moving[[0] if latent == 0 else range(4 * latent - 3, 4 * latent + 1)].mean(0) for latent in frames]
        shrunk = torch.stack(expected).unflatten(1, (4, 8)).unflatten(3, (4, 8)).mean((2, 4))
        torch.testing.assert_close(mask, shrunk, atol=1e-6, rtol=0)


def test_a_window_of_a_long_take_has_the_anchors_and_its_own_frames_of_the_mask(host):
    moving = torch.arange(1, 34)[:, None, None].expand(33, 2, 2) / 33
    part = speaker(host, speech(host, 33), moving).part([0, 3, 4])
    frames = [0, 9, 10, 11, 12, 13, 14, 15, 16]
    assert torch.equal(part.mask, moving[frames]) and part.speech.frames == 9
    still = speaker(host, speech(host, 33), moving[:1]).part([0, 3, 4])
    assert torch.equal(still.mask, moving[:1])


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("mask", "strength", "expected"),
    [
        (torch.zeros(1, 8, 8), 1.0, "mask is empty, and this speaker would not be heard"),
        (torch.ones(2, 8, 8), 1.0, "mask has 2 pictures, expected one, or one for each of the speech's 17 frames"),
        (torch.ones(8, 8), 1.0, r"mask is \[8, 8\], expected a MASK"),
        ("left", 1.0, "mask is left, expected a MASK"),
        (torch.full((1, 8, 8), torch.nan), 1.0, "numbers outside of 0 to 1"),
        (torch.full((1, 8, 8), 255.0), 1.0, "numbers outside of 0 to 1"),
        (None, float("nan"), "audio_strength is nan"),
        (None, -1.0, "audio_strength is -1"),
    ],
)
def test_a_mask_that_is_none_is_refused(host, run, mask, strength, expected):
    positive, negative, _ = clip(FRAMES)
    with pytest.raises(ValueError, match=expected):
        run(
            "FantasyTalkingConditioning", positive=positive, negative=negative, speech=speech(host, FRAMES), mask=mask,
            audio_strength=strength,
        )  # fmt: skip


def test_speakers_of_different_lengths_are_refused(host, run):
    positive, negative, _ = clip(FRAMES)
    heard, _ = hear(run, positive, negative, speech(host, FRAMES))
    with pytest.raises(ValueError, match="has 33 frames at 23 fps, the one before has 17 frames at 23 fps: give both"):
        hear(run, heard, negative, speech(host, 33))


def test_speakers_without_a_place_are_told(host):
    notices, voice = host.core("speech.speaker").notices, speech(host, FRAMES)
    alone, placed = speaker(host, voice), speaker(host, voice, torch.ones(1, 8, 8))
    assert notices([alone]) == [] and notices([placed, placed]) == []
    assert notices([placed, alone]) == ["No mask for speaker 2 of 2: every mouth follows that speech, too. Wire mask."]
