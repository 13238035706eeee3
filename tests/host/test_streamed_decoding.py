"""Frames as their latents come: those of decoding the whole, to the bit."""

import pytest
import torch


@pytest.fixture(scope="module")
def vae(host):
    import comfy.sd

    from support.random_family import wan_vae

    return comfy.sd.VAE(sd=wan_vae())


def latents(count: int, size: int = 4) -> torch.Tensor:
    return torch.randn(1, 16, count, size, size, generator=torch.Generator().manual_seed(7))


def whole(vae, values: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return vae.decode(values)[0]


def streamed(host, vae, pieces, decoding=None) -> torch.Tensor:
    decoding = decoding or host.core("host.streamed_decoding").StreamedDecoding(vae)
    with torch.inference_mode():
        frames = [
            frame for index, piece in enumerate(pieces) for frame in decoding.push(piece, is_last=index == len(pieces) - 1)
        ]
    return torch.cat(frames)


@pytest.mark.parametrize("sizes", [[21], [5, 4, 3], [1, 1, 1, 1, 1], [2, 7, 2], [21, 17, 17, 6]])
def test_in_pieces_of_any_size_the_frames_are_those_of_the_whole(host, vae, sizes):
    values = latents(sum(sizes))
    assert torch.equal(streamed(host, vae, values.split(sizes, dim=2)), whole(vae, values))


@pytest.mark.parametrize("done", [1, 2, 21, 38, 55, 72, 73])
def test_after_forty_latents_a_decoder_that_goes_on_is_the_same_to_the_bit(host, vae, done):
    values = latents(done + 9)
    module = host.core("host.streamed_decoding")
    decoding = module.StreamedDecoding(vae)
    given = values[:, :, max(0, done - module.REBUILT_FROM) : done]
    with torch.inference_mode():
        decoding.rebuild(given, done - given.shape[2])
    frames = streamed(host, vae, [values[:, :, done:]], decoding)
    assert torch.equal(frames, whole(vae, values)[-len(frames) :])
    # what waited for its pair is shown now
    assert len(frames) == 4 * (9 + (done - 1) % 2)


def test_a_vae_without_such_a_cache_is_shown_what_was_before_and_says_so(host, vae):
    values = latents(20)
    decoding = host.core("host.streamed_decoding").StreamedDecoding(vae)
    assert decoding.notice == ""
    decoding.cache = None
    frames = streamed(host, vae, values.split([8, 12], dim=2), decoding)
    expected = whole(vae, values)
    assert frames.shape == expected.shape
    assert torch.equal(frames[:29], expected[:29]) and (frames - expected).abs().max() < 0.05


def test_another_kind_of_vae_is_named(host, vae):
    class Other(torch.nn.Module):
        pass

    class Holder:
        first_stage_model = Other()

    assert "wan_2.1_vae.safetensors is exact" in host.core("host.streamed_decoding").StreamedDecoding(Holder()).notice


def test_without_room_for_whole_frames_it_goes_on_in_tiles_and_says_so(host, vae, monkeypatch):
    import comfy.model_management

    values = latents(9)
    decoding = host.core("host.streamed_decoding").StreamedDecoding(vae)
    real, calls = vae.first_stage_model.decoder.forward, []

    def forward(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory")
        return real(*args, **kwargs)

    monkeypatch.setattr(vae.first_stage_model.decoder, "forward", forward)
    frames = streamed(host, vae, values.split([5, 4], dim=2), decoding)
    monkeypatch.undo()
    expected = whole(vae, values)
    assert frames.shape == expected.shape and (frames - expected).abs().max() < 0.05
    assert "in tiles" in decoding.notice
