"""The small family of models with random weights: the files of `sources/drawn_world/models`, made in a moment."""

import json
from pathlib import Path

import comfy.cli_args
import torch

if not torch.cuda.is_available():
    comfy.cli_args.args.cpu = True  # must be set before the host looks for a GPU

import comfy.ops
from comfy.ldm.wan.model import WanModel
from comfy.ldm.wan.vae import WanVAE
from safetensors.torch import save_file
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

DIM, LAYERS = 128, 2
TEXT_DIM = 64
AUDIO_DIM = 768
ADAPTER_DIM, HIDDEN = 64, 16


def random_tensor(shape: torch.Size | tuple[int, ...], fan_in: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator) / fan_in**0.5


def random_weights(module: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Random values for the weights of a module whose parameters the host leaves without any."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, value in module.state_dict().items():
        if name.endswith("bias"):
            weights[name] = torch.zeros(value.shape)
        elif name.endswith("gamma") or value.ndim == 1:
            weights[name] = torch.ones(value.shape)
        else:
            weights[name] = random_tensor(value.shape, value[0].numel(), generator)
    return weights


def dit() -> dict[str, torch.Tensor]:
    """A Wan2.1 I2V diffusion model of 2 blocks, width 128, one head."""
    model = WanModel(
        model_type="i2v",
        in_dim=36,
        dim=DIM,
        ffn_dim=64,
        freq_dim=256,
        text_dim=TEXT_DIM,
        out_dim=16,
        num_heads=1,
        num_layers=LAYERS,
        device="cpu",
        dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
    )
    return {name: value.half() for name, value in random_weights(model, seed=1).items()}


def wan_vae() -> dict[str, torch.Tensor]:
    """A Wan2.1 VAE of width 2."""
    model = WanVAE(
        dim=2,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
        dropout=0.0,
    )
    return random_weights(model, seed=2)


def adapter() -> dict[str, torch.Tensor]:
    """A FantasyTalking adapter for `dit`, with audio and motion weights, in the pack's own layout."""
    generator = torch.Generator().manual_seed(3)
    weights = {
        "audio.projector.proj.weight": random_tensor((ADAPTER_DIM, AUDIO_DIM), AUDIO_DIM, generator),
        "audio.projector.norm.weight": torch.ones(ADAPTER_DIM),
        "audio.projector.norm.bias": torch.zeros(ADAPTER_DIM),
    }
    for block in range(LAYERS):
        for part in ("k_proj", "v_proj"):
            weights[f"audio.blocks.{block}.{part}.weight"] = random_tensor((DIM, ADAPTER_DIM), ADAPTER_DIM, generator)
    shapes = {f"{which}.{index}": (HIDDEN, fan) for which in ("expression", "body") for index, fan in ((0, 1), (2, HIDDEN))}
    shapes |= {"residual.1": (HIDDEN, HIDDEN), "residual.3": (HIDDEN, HIDDEN), "out": (DIM, HIDDEN)}
    for name, shape in shapes.items():
        weights[f"motion.{name}.weight"] = random_tensor(shape, shape[1], generator)
        weights[f"motion.{name}.bias"] = torch.zeros(shape[0])
    weights["motion.residual.0.weight"], weights["motion.residual.0.bias"] = torch.ones(HIDDEN), torch.zeros(HIDDEN)
    return weights


def save_wav2vec2(folder: Path) -> None:
    """A one-layer Wav2Vec2 with the hop and output width of facebook/wav2vec2-base-960h, as a transformers folder."""
    torch.manual_seed(4)
    config = Wav2Vec2Config(
        hidden_size=AUDIO_DIM,
        num_hidden_layers=1,
        num_attention_heads=12,
        intermediate_size=64,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=16,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, sampling_rate=16000).save_pretrained(folder)


def write(folder: Path) -> Path:
    """The files of `sources/drawn_world/models`; the face encoder is an empty one."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dit(), folder / "dit.safetensors", {"config": json.dumps({"transformer": {"text_dim": TEXT_DIM}})})
    save_file(wan_vae(), folder / "vae.safetensors")
    save_file(adapter(), folder / "adapter.safetensors")
    save_wav2vec2(folder / "wav2vec2")
    (folder / "face_encoder.onnx").write_bytes(b"")
    return folder
