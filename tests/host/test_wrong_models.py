"""What does not fit is said in one sentence, before anything is sampled."""

import pytest
import torch

from support.runs import apply, clip, hear, ksample, sample, speech


def wan(**changes):
    """A MODEL of the host's own Wan class with random weights, as its loader gives it."""
    import comfy.ops
    import comfy.sd
    from comfy.ldm.wan.model import WanModel

    size = {"model_type": "i2v", "in_dim": 36, "dim": 256, "ffn_dim": 64, "text_dim": 4096, "num_heads": 2, "num_layers": 2}
    dit = WanModel(
        **{**size, **changes},
        out_dim=changes.get("out_dim", 16),
        device="cpu",
        dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
    )
    return comfy.sd.load_diffusion_model_state_dict({key: torch.zeros_like(value) for key, value in dit.state_dict().items()})


def refused(run, model, adapter) -> str:
    with pytest.raises(ValueError) as error:
        apply(run, model, adapter)
    assert type(error.value).__name__ == "FantasyTalkingError"
    return str(error.value)


def test_a_t2v_model(run, adapter):
    message = refused(run, wan(model_type="t2v", in_dim=16), adapter)
    assert "is a Wan T2V or Wan2.2 one" in message and "load Wan2.1 I2V 14B" in message


def test_a_wan22_model_without_image_tokens(run, adapter):
    message = refused(run, wan(model_type="t2v", in_dim=36), adapter)
    assert "does not read the portrait's image tokens" in message and "load Wan2.1 I2V 14B" in message


def test_a_model_with_channels_for_a_control_video(run, adapter):
    message = refused(run, wan(in_dim=48), adapter)
    assert "takes 48 channels, as Fun-Control models do, expected 36 (noise, portrait and mask): load Wan2.1 I2V" in message


@pytest.mark.parametrize("changes", [{"num_layers": 3}, {"dim": 128, "num_heads": 1}])
def test_a_model_of_another_size(run, adapter, changes):
    message = refused(run, wan(**changes), adapter)
    assert "made for a DiT of 2 blocks of width 256" in message
    assert f"has {changes.get('num_layers', 2)} of width {changes.get('dim', 256)}" in message


def test_a_model_that_is_no_wan_at_all(run, adapter):
    import comfy.model_patcher

    class Base(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.diffusion_model = torch.nn.Linear(2, 2)

    other = comfy.model_patcher.ModelPatcher(Base(), torch.device("cpu"), torch.device("cpu"))
    assert "is a Linear, expected a Wan I2V DiT" in refused(run, other, adapter)


def test_speech_for_a_model_without_the_adapter(host, run, model):
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 17))
    with pytest.raises(ValueError, match="has no FantasyTalking adapter.*wire the model through Apply Adapter"):
        sample(run, model, *heard, latent)


@pytest.mark.parametrize("sampler", [sample, ksample])
def test_a_latent_of_another_length_than_the_speech(host, run, model, adapter, sampler):
    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 33))
    with pytest.raises(ValueError, match=r"latent is for 17 frames, the speech for 33: wire the length"):
        sampler(run, apply(run, model, adapter), *heard, latent)


def test_a_latent_of_the_wrong_length_is_said_before_the_model_is_loaded(host, run, model, adapter, monkeypatch):
    import comfy.model_management

    positive, negative, latent = clip(17)
    heard = hear(run, positive, negative, speech(host, 33))
    monkeypatch.setattr(comfy.model_management, "load_models_gpu", lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(ValueError, match="wire the length"):
        sample(run, apply(run, model, adapter), *heard, latent)


def test_with_context_windows_the_length_of_the_whole_latent_counts(host, run, model, adapter):
    positive, negative, latent = clip(33)
    heard = hear(run, positive, negative, speech(host, 17))
    windowed = run(
        "WanContextWindowsManual",
        model=apply(run, model, adapter),
        context_length=17,
        context_overlap=4,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        freenoise=False,
    )[0]
    with pytest.raises(ValueError, match="latent is for 33 frames, the speech for 17"):
        sample(run, windowed, *heard, latent)


def test_tokens_of_another_encoder(host, run, model, adapter):
    positive, negative, latent = clip(17)
    large = host.core("speech.speech").Speech(torch.zeros(36, 1024), 17, 23.0)
    heard = hear(run, positive, negative, large)
    with pytest.raises(ValueError, match="tokens of width 1024, the adapter hears 768: load wav2vec2-base-960h"):
        sample(run, apply(run, model, adapter), *heard, latent)


def test_after_an_error_the_model_works_as_before(host, run, model, adapter):
    positive, negative, latent = clip(17)
    patched, heard = apply(run, model, adapter), hear(run, positive, negative, speech(host, 17))
    expected = sample(run, patched, *heard, latent)
    with pytest.raises(ValueError):
        sample(run, patched, *hear(run, positive, negative, speech(host, 33)), latent)
    assert torch.equal(sample(run, patched, *heard, latent), expected)
