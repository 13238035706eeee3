"""The small adapters: runs of the pack's own trainer on the frozen small DiT.

`both` is the one that is shipped, trained in the paper's two stages (§3.2); the others, with as many steps, lack one of
its parts, and show by comparison what that part does.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from fantasytalking_core.adapter.identity import IdentitySizes
from fantasytalking_core.commands.run import trainer_of
from fantasytalking_core.training.export import export
from fantasytalking_core.training.run.config import AudioSizes, Config, MotionSizes, Stage

from . import SEED, TEXT_ROWS
from .loop import cheaper_products, device

CLIP_STEPS, FRAME_STEPS = 300, 2700
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
        checkpoint_every=50,
        keep=12,
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
    path.unlink(missing_ok=True)
    export(settings.output, path)
    if variant == SHIPPED:
        shutil.copyfile(path, folder / "models" / path.name)
    return path
