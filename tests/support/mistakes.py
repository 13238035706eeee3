"""Files that a beginner might choose, for a server with the demo's models."""

import wave
from pathlib import Path

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from support import reference

TEXT_ENCODER, T2V, OTHER_WIDTH = "umt5_xxl_fp16.safetensors", "wan2.1_t2v_1.3B.safetensors", "another_model.safetensors"
WALL, LONG, SECONDS = "wall.png", "long_speech.wav", 5


def add(base: Path) -> None:
    models = base / "models"
    text = {"shared.weight": (64, 32), "encoder.block.0.layer.0.SelfAttention.q.weight": (32, 32)}
    save_file({name: torch.zeros(shape) for name, shape in text.items()}, models / "vae" / TEXT_ENCODER)
    (dit,) = (models / "diffusion_models").glob("*.safetensors")
    with safe_open(dit, "pt") as file:
        about = file.metadata()
    weights = {name: value for name, value in load_file(dit).items() if "img" not in name}  # nothing reads the portrait
    weights["patch_embedding.weight"] = weights["patch_embedding.weight"][:, :16].clone()
    save_file(weights, models / "diffusion_models" / T2V, about)
    tiny = reference.FOLDER / "fantasytalking/fantasytalking_tiny.safetensors"
    (models / "fantasytalking" / OTHER_WIDTH).symlink_to(tiny)
    Image.linear_gradient("L").convert("RGB").save(base / "input" / WALL)
    with wave.open(str(base / "input/drawn_speech.wav")) as speech:
        about, sound = speech.getparams(), speech.readframes(speech.getnframes())
    size = SECONDS * about.framerate * about.sampwidth * about.nchannels
    with wave.open(str(base / "input" / LONG), "wb") as speech:
        speech.setparams(about)
        speech.writeframes((sound * (size // len(sound) + 1))[:size])
