"""Small DiTs and caches for training, and runs on them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from fantasytalking_core.adapter.identity import IdentitySizes
from fantasytalking_core.adapter.motion import MotionRanges
from fantasytalking_core.training.data import cache
from fantasytalking_core.training.data.sample import Sample
from fantasytalking_core.training.run.config import AudioSizes, Config, Drop, MotionSizes, Stage

TEXT, AUDIO, FACE = 32, 12, 8
FRAMES, FPS = 17, 23.0
"""17 frames are 5 latent frames; at 23 fps they have 36 audio tokens."""
LATENT_FRAMES, TOKENS = 5, 36
MANY = 80
"""Samples of a cache of which a run holds some out."""
SIZES = {
    "audio": AudioSizes(projected=16),
    "identity": IdentitySizes(queries=3, resampler=16, depth=1, heads=2, inner=16, projected=16),
    "motion": MotionSizes(hidden=16),
}


def write_dit(path: Path, dim: int = 48, heads: int = 4, layers: int = 2, text: int = TEXT, seed: int = 1) -> None:
    """A Wan I2V DiT with random weights, of any width, as the host's loader takes it."""
    import comfy.ops
    from comfy.ldm.wan.model import WanModel

    with torch.device("meta"):
        model = WanModel(
            model_type="i2v",
            in_dim=36,
            dim=dim,
            ffn_dim=2 * dim,
            freq_dim=256,
            text_dim=text,
            out_dim=16,
            num_heads=heads,
            num_layers=layers,
            cross_attn_norm=True,
            operations=comfy.ops.disable_weight_init,
            dtype=torch.float32,
        )
    generator, weights = torch.Generator().manual_seed(seed), {}
    for name, value in model.state_dict().items():
        if value.ndim == 1:
            weights[name] = (torch.zeros if name.endswith("bias") else torch.ones)(value.shape)
        else:
            weights[name] = torch.randn(value.shape, generator=generator) / value[0].numel() ** 0.5
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, {"config": json.dumps({"transformer": {"num_heads": heads, "text_dim": text}})})


def sample(seed: int, size: int = 4, **changes) -> Sample:
    """Random numbers in the shape of a sample; a mouth in the middle."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    image = random(16, LATENT_FRAMES, size, size)
    lips = torch.zeros(LATENT_FRAMES, size, size)
    lips[:, size // 2 :, size // 4 : -size // 4] = 1.0
    parts = {
        "latents": random(16, LATENT_FRAMES, size, size),
        "image": image,
        "text": random(5, TEXT),
        "clip": random(257, 1280),
        "speech": random(TOKENS, AUDIO),
        "lips": lips,
        "motion": torch.tensor([0.0005, 0.01]),
        "face": torch.nn.functional.normalize(random(FACE), dim=0),
    }
    return Sample(**{**parts, **changes})


def write_cache(folder: Path, *samples: Sample, frames: int = FRAMES) -> Path:
    folder.mkdir(parents=True)
    entries = []
    for number, each in enumerate(samples):
        entries.append(cache.Entry(f"{number:06d}.safetensors", f"video{number}.mp4", 0.0, "a person speaks"))
        each.save(folder / entries[-1].file)
    size = samples[0].latents.shape[-1] * 8
    ranges = MotionRanges((0.0, 0.001), (0.0, 0.02), "linear")
    index = cache.Index(frames, FPS, size, size, {"vae": "tiny"}, ranges, tuple(entries))
    index.save(folder)
    cache.save_null_text(folder, torch.randn(2, samples[0].text.shape[1], generator=torch.Generator().manual_seed(99)))
    return folder


def config(dit: Path, cache_folder: Path, output: Path, **changes) -> Config:
    """Three steps at clip level and three at frame level, in float32, without samples."""
    settings = {
        "stages": (Stage("clip", 3), Stage("frame", 3)),
        "dtype": "fp32",
        "batch_size": 2,
        "warmup_steps": 2,
        "learning_rate": 1e-2,
        "workers": 0,
        "checkpoint_every": 2,
        "sample_every": 0,
        "log_every": 1,
        **SIZES,
    }
    return Config(str(dit), cache_folder, output, **{**settings, **changes})


NOTHING_DROPPED, ALL_DROPPED = Drop(0.0, 0.0, 0.0), Drop(1.0, 1.0, 1.0)


def train(settings: Config) -> list[dict[str, float]]:
    """Train; returns what each step reported."""
    from fantasytalking_core.commands.run import trainer_of

    found = []
    trainer_of(settings).run(lambda step, values: found.append(values))
    return found
