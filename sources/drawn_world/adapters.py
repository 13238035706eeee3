"""The small adapters: runs of the pack's own trainer on the frozen small DiT.

`both` is the one that is shipped, trained in the paper's two stages (§3.2); the others, with as many steps, lack one of
its parts, and show by comparison what that part does.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fantasytalking_core.adapter.file import save_adapter
from fantasytalking_core.adapter.identity import IdentitySizes
from fantasytalking_core.commands.run import trainer_of
from fantasytalking_core.training.run import checkpoints
from fantasytalking_core.training.run.config import AudioSizes, Config, MotionSizes, Stage

from . import SEED, TEXT_ROWS
from .loop import cheaper_products, device

CLIP_STEPS, FRAME_STEPS = 300, 2500
EVERY, AVERAGED = 50, 8
"""Steps between checkpoints, and of how many of the last ones the adapter is the mean: the rate does not fall towards the end.
As much in synchrony as the last one, and nearer to the portrait."""
SHIPPED = "both"
VARIANTS: dict[str, dict[str, Any]] = {
    SHIPPED: {},
    "frame": {"stages": (Stage("frame", CLIP_STEPS + FRAME_STEPS),)},
    "clip": {"stages": (Stage("clip", CLIP_STEPS + FRAME_STEPS),)},
    "no_identity": {"parts": ("audio", "motion")},
}
"""What differs from the shipped adapter's settings."""


def config(variant: str, folder: Path) -> Config:
    """A variant's settings.

    Args:
        folder: of the training: the DiT is in its `models`, the samples are in `cache/train`.
    """
    shipped = Config(
        dtype="fp32",  # of the weights; see `cheaper_products`
        model=str(folder / "models" / "dit.safetensors"),
        cache=folder / "cache" / "train",
        output=folder / "runs" / variant,
        stages=(Stage("clip", CLIP_STEPS), Stage("frame", FRAME_STEPS)),
        audio=AudioSizes(projected=128),
        identity=IdentitySizes(queries=4, resampler=96, depth=1, heads=4, inner=96, projected=128),
        motion=MotionSizes(hidden=64),
        batch_size=16,
        learning_rate=2e-3,
        warmup_steps=50,
        text_rows=TEXT_ROWS,
        seed=SEED,
        gradient_checkpointing=False,
        workers=0,
        checkpoint_every=EVERY,
        keep=AVERAGED,
        sample_every=0,
    )
    return replace(shipped, **VARIANTS[variant])


def train(variant: str, folder: Path) -> Path:
    """Train a variant, from where it stands; returns its adapter file in its run's folder.

    That of the shipped one is copied to the other models as well.
    """
    settings = config(variant, folder)
    with cheaper_products(device()):
        trainer_of(settings).run()
    path = settings.output / "adapter.safetensors"
    average(settings.output, path)
    if variant == SHIPPED:
        shutil.copyfile(path, folder / "models" / path.name)
    return path


def average(run: Path, path: Path) -> None:
    """Write the mean of the adapters in a run's checkpoints, with what the last one says of itself."""
    adapters = [checkpoints.load_adapter(folder) for folder in checkpoints.all_of(run)]
    last = adapters[-1]
    means = {key: torch.stack([each.weights[key].double() for each in adapters]).mean(0) for key in last.weights}
    save_adapter(path, {key: mean.to(last.weights[key].dtype) for key, mean in means.items()}, last.metadata)
