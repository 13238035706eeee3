"""Make small models of random weights that the host's own loaders and this pack's accept.

They show that the whole pipeline runs; a trained model looks and sounds different.

    python dev.py run demo/make_models.py MODELS_FOLDER
"""
import sys
from contextlib import suppress
from pathlib import Path

import comfy.cli_args

comfy.cli_args.args.cpu = True  # must be set before the host looks for a GPU

import comfy.ops
import torch
from comfy.ldm.wan.model import WanModel
from comfy.ldm.wan.vae import WanVAE
from safetensors.torch import save_file
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

DIM = 128
LAYERS = 2
AUDIO_DIM = 768
ADAPTER_DIM = 64
STAND_IN = "fantasytalking demo stand-in"
"""What the metadata of a file without weights says, in the place of an encoder that can't be made small; `stand_ins`
knows it."""


def random_tensor(shape: torch.Size | tuple[int, ...], fan_in: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator) / fan_in ** 0.5


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


def wan_i2v() -> dict[str, torch.Tensor]:
    """A Wan2.1 I2V diffusion model of 2 blocks, width 128, one head."""
    model = WanModel(model_type="i2v", in_dim=36, dim=DIM, ffn_dim=64, freq_dim=256, text_dim=4096, out_dim=16,
                     num_heads=1, num_layers=LAYERS, device="cpu", dtype=torch.float32,
                     operations=comfy.ops.disable_weight_init)
    return {name: value.half() for name, value in random_weights(model, seed=1).items()}


def wan_vae() -> dict[str, torch.Tensor]:
    """A Wan2.1 VAE of width 2."""
    model = WanVAE(dim=2, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
                   temperal_downsample=[False, True, True], dropout=0.0)
    return random_weights(model, seed=2)


def adapter() -> dict[str, torch.Tensor]:
    """A FantasyTalking adapter for `wan_i2v`, in the flat layout of the community's conversions."""
    generator = torch.Generator().manual_seed(3)
    weights = {"proj_model.proj.weight": random_tensor((ADAPTER_DIM, AUDIO_DIM), AUDIO_DIM, generator),
               "proj_model.norm.weight": torch.ones(ADAPTER_DIM),
               "proj_model.norm.bias": torch.zeros(ADAPTER_DIM)}
    for block in range(LAYERS):
        for part in ("k_proj", "v_proj"):
            name = f"blocks.{block}.cross_attn.{part}.weight"
            weights[name] = random_tensor((DIM, ADAPTER_DIM), ADAPTER_DIM, generator)
    return weights


def trained_adapter() -> dict[str, torch.Tensor]:
    """The same with motion weights beside, in the pack's own layout, as the trainer would export it."""
    generator = torch.Generator().manual_seed(5)
    weights = {}
    for name, value in adapter().items():
        name = name.replace("proj_model.", "projector.").replace("cross_attn.", "")
        weights[f"audio.{name}"] = value
    hidden = 16
    shapes = {f"{which}.{index}": (hidden, fan) for which in ("expression", "body") for index, fan in ((0, 1), (2, hidden))}
    shapes |= {"residual.1": (hidden, hidden), "residual.3": (hidden, hidden), "out": (DIM, hidden)}
    for name, shape in shapes.items():
        weights[f"motion.{name}.weight"] = random_tensor(shape, shape[1], generator)
        weights[f"motion.{name}.bias"] = torch.zeros(shape[0])
    weights["motion.residual.0.weight"], weights["motion.residual.0.bias"] = torch.ones(hidden), torch.zeros(hidden)
    return weights


def lora() -> dict[str, torch.Tensor]:
    """A LoRA of rank 4 for `wan_i2v`."""
    generator = torch.Generator().manual_seed(6)
    weights = {}
    for block in range(LAYERS):
        for layer in ("self_attn.q", "self_attn.v", "cross_attn.q", "cross_attn.v"):
            name = f"diffusion_model.blocks.{block}.{layer}"
            weights[f"{name}.lora_down.weight"] = random_tensor((4, DIM), DIM, generator)
            weights[f"{name}.lora_up.weight"] = random_tensor((DIM, 4), 4, generator)
    return weights


def upscaler() -> dict[str, torch.Tensor]:
    """An upscaler to twice the size, of the kind SRVGGNet (Compact): two convolutions of width 8, pixels shuffled."""
    generator = torch.Generator().manual_seed(7)
    weights = {"body.1.weight": torch.full((8,), 0.25), "body.3.weight": torch.full((8,), 0.25)}
    for index, (width, fan_in) in {0: (8, 3), 2: (8, 8), 4: (12, 8)}.items():
        weights[f"body.{index}.weight"] = random_tensor((width, fan_in, 3, 3), 9 * fan_in, generator)
        weights[f"body.{index}.bias"] = torch.zeros(width)
    return weights


def interpolator() -> dict[str, torch.Tensor]:
    """A RIFE (IFNet) of width 4 in all its blocks. Raises ImportError in a ComfyUI without frame interpolation."""
    from comfy_extras.frame_interpolation_models.ifnet import IFNet

    return random_weights(IFNet(head_ch=4, channels=(4,) * 5), seed=8)


def save_wav2vec2(folder: Path) -> None:
    """A one-layer Wav2Vec2 with the hop and output width of facebook/wav2vec2-base-960h, as a transformers folder."""
    torch.manual_seed(4)
    config = Wav2Vec2Config(hidden_size=AUDIO_DIM, num_hidden_layers=1, num_attention_heads=12, intermediate_size=64,
                            conv_dim=(32,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=16)
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, sampling_rate=16000).save_pretrained(folder)


def published(weights: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """An adapter's weights in the nested layout of the published checkpoint."""
    nested = {"proj_model": {}, "audio_processor": {}}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        if part == "proj_model":
            nested[part][rest] = value
        else:
            nested["audio_processor"][name.replace("cross_attn.", "cross_attn.processor.")] = value
    return nested


def main(models: Path) -> None:
    """Every file under the name that the templates ask for, so that these run as they are."""
    files = {"diffusion_models/wan2.1_i2v_480p_14B_fp16.safetensors": wan_i2v(),
             "vae/wan_2.1_vae.safetensors": wan_vae(),
             "fantasytalking/fantasytalking_model.ckpt": published(adapter()),
             "fantasytalking/fantasytalking_trained.safetensors": trained_adapter(),
             "loras/Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors": lora(),
             "upscale_models/RealESRGAN_x2.pth": upscaler(),
             "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors": {},
             "clip_vision/clip_vision_h.safetensors": {}}
    with suppress(ImportError):
        files["frame_interpolation/rife_v4.26.safetensors"] = interpolator()
    for name, weights in files.items():
        path = models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            save_file(weights, path, None if weights else {"format": STAND_IN})
        else:
            torch.save(weights, path)
    save_wav2vec2(models / "wav2vec2/wav2vec2-base-960h")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
