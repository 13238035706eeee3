"""Put the small trained models under the names that the templates ask for, so that these run as they are.

    python dev.py run demo/install_models.py MODELS_FOLDER

What the templates need beside them, no training is spent on: it is built to do the plain thing. The upscaler enlarges
and adds no detail, the interpolator blends neighbouring frames, the LoRA changes nothing, and the files of UMT5-XXL and
CLIP ViT-H hold no weights: `stand_ins` knows them.
"""

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import comfy.cli_args
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

comfy.cli_args.args.cpu = True  # before `interpolator` imports what looks for a GPU

SOURCE = Path(__file__).resolve().parent.parent / "sources/drawn_world/models"
STAND_IN = "fantasytalking demo stand-in"
"""What the metadata of a file without weights says."""
COPIES = {
    "dit.safetensors": "diffusion_models/wan2.1_i2v_480p_14B_fp8_scaled.safetensors",
    "vae.safetensors": "vae/wan_2.1_vae.safetensors",
    "wav2vec2": "wav2vec2/wav2vec2-base-960h.safetensors",  # a folder of that name: as one file only the real model is known
    "adapter.safetensors": "fantasytalking/fantasytalking_trained.safetensors",
    "face_encoder.onnx": "facerecognition/face_encoder.onnx",
}
"""Of the family, and what their copies are called."""
RANK = 4


def published(adapter: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The audio weights of an adapter of the pack's own layout, in that of the published 16-bit file."""
    renamed = {}
    for name, value in adapter.items():
        if name.startswith("audio.projector."):
            renamed[f"proj_model.{name.removeprefix('audio.projector.')}"] = value
        elif name.startswith("audio.blocks."):
            _, _, block, key = name.split(".", 3)
            renamed[f"blocks.{block}.cross_attn.processor.{key}"] = value
    return renamed


def lora(dit: Path) -> dict[str, torch.Tensor]:
    """A LoRA for this DiT that adds zero to every query and value."""
    weights = {}
    with safe_open(dit, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  no dict: it has no iterator
            if name.endswith(("attn.q.weight", "attn.v.weight")):
                rows, columns = file.get_slice(name).get_shape()
                layer = f"diffusion_model.{name.removesuffix('.weight')}"
                weights[f"{layer}.lora_down.weight"] = torch.zeros(RANK, columns)
                weights[f"{layer}.lora_up.weight"] = torch.zeros(rows, RANK)
    return weights


def upscaler() -> dict[str, torch.Tensor]:
    """An upscaler of the kind SRVGGNet (Compact), which adds what its layers find to the picture of twice the size: zero."""
    weights = {"body.1.weight": torch.zeros(8), "body.3.weight": torch.zeros(8)}
    for index, (width, fan_in) in {0: (8, 3), 2: (8, 8), 4: (12, 8)}.items():
        weights[f"body.{index}.weight"] = torch.zeros(width, fan_in, 3, 3)
        weights[f"body.{index}.bias"] = torch.zeros(width)
    return weights


def interpolator() -> dict[str, torch.Tensor]:
    """A RIFE (IFNet) that sees no motion, and so gives the mean of two frames.

    Raises:
        ImportError: this ComfyUI has no frame interpolation.
    """
    from comfy_extras.frame_interpolation_models.ifnet import IFNet

    return {name: torch.zeros(value.shape) for name, value in IFNet(head_ch=4, channels=(4,) * 5).state_dict().items()}


def copy(source: Path, target: Path) -> None:
    """A file or a folder, in the place of what was there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    else:
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)


def install(models: Path, source: Path = SOURCE) -> None:
    """Every file that a template asks for.

    Args:
        source: the folder of the family, as `dev.py train small` fills it.
    """
    for name, target in COPIES.items():
        copy(source / name, models / target)
    files = {
        "fantasytalking/fantasytalking_fp16.safetensors": published(load_file(source / "adapter.safetensors")),
        "loras/Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors": lora(source / "dit.safetensors"),
        "upscale_models/RealESRGAN_x2.pth": upscaler(),
        "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors": {},
        "clip_vision/clip_vision_h.safetensors": {},
    }
    with suppress(ImportError):
        files["frame_interpolation/rife_v4.26.safetensors"] = interpolator()
    for name, weights in files.items():
        path = models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            save_file(weights, path, None if weights else {"format": STAND_IN})
        else:
            torch.save(weights, path)


if __name__ == "__main__":
    install(Path(sys.argv[1]))
