"""The small adapters: runs of the pack's own trainer on the frozen small DiT.

`both` is the one that is shipped, trained in the paper's two stages (§3.2), twice; the others, with as many steps, lack one of
its parts, and show by comparison what that part does.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fantasytalking_core.adapter.file import save_adapter
from fantasytalking_core.adapter.identity import IdentitySizes
from fantasytalking_core.commands.run import trainer_of
from fantasytalking_core.files import complete
from fantasytalking_core.training.run import checkpoints
from fantasytalking_core.training.run.config import AudioSizes, Config, MotionSizes, Stage

from . import SEED, TEXT_ROWS
from .loop import cheaper_products, device


@dataclass(frozen=True)
class Round:
    """A run in the paper's two stages. The next one begins with what it came to.

    Attributes:
        clip, frame: steps of the two stages.
        averaged: of how many of its last checkpoints its adapter is the mean: the rate does not fall within a round. As much in
            synchrony as the last one, and nearer to the portrait.
    """

    learning_rate: float
    clip: int
    frame: int
    averaged: int


EVERY = 50
"""Steps between checkpoints."""
ROUNDS = (Round(2e-3, clip=300, frame=2500, averaged=8), Round(1e-3, clip=400, frame=4200, averaged=53))
SHIPPED = "both"
VARIANTS: dict[str, Callable[[Config], Config]] = {
    SHIPPED: lambda shipped: shipped,
    "frame": lambda shipped: _of_one_stage(shipped, "frame"),
    "clip": lambda shipped: _of_one_stage(shipped, "clip"),
    "no_identity": lambda shipped: replace(shipped, parts=("audio", "motion")),
}
"""What each makes of the shipped adapter's settings."""


def _of_one_stage(settings: Config, name: str) -> Config:
    return replace(settings, stages=(Stage(name, settings.steps),))


def config(variant: str, folder: Path, number: int) -> Config:
    """The settings of a variant's round.

    Args:
        folder: of the training: the DiT is in its `models`, the samples are in `cache/train`.
        number: of the round, from 0 on.
    """
    now, run = ROUNDS[number], folder / "runs" / variant
    shipped = Config(
        dtype="fp32",  # of the weights; see `cheaper_products`
        model=str(folder / "models" / "dit.safetensors"),
        cache=folder / "cache" / "train",
        output=run / f"round_{number}",
        init=run / f"round_{number - 1}" / checkpoints.ADAPTER if number else None,
        stages=(Stage("clip", now.clip), Stage("frame", now.frame)),
        audio=AudioSizes(projected=128),
        identity=IdentitySizes(queries=4, resampler=96, depth=1, heads=4, inner=96, projected=128),
        motion=MotionSizes(hidden=64),
        batch_size=16,
        learning_rate=now.learning_rate,
        warmup_steps=50,
        text_rows=TEXT_ROWS,
        seed=SEED + number,
        gradient_checkpointing=False,
        workers=0,
        checkpoint_every=EVERY,
        keep=now.averaged,
        sample_every=0,
    )
    return VARIANTS[variant](shipped)


def train(variant: str, folder: Path) -> Path:
    """Train a variant, from where it stands; returns its adapter file in its run's folder.

    That of the shipped one is copied to the other models as well.
    """
    path = folder / "runs" / variant / checkpoints.ADAPTER
    for number in range(len(ROUNDS)):
        settings = config(variant, folder, number)
        with cheaper_products(device()):
            trainer_of(settings).run()
        average(settings.output, settings.output / checkpoints.ADAPTER)
    if variant == SHIPPED:
        shutil.copyfile(settings.output / checkpoints.ADAPTER, folder / "models" / checkpoints.ADAPTER)
    with complete(path) as partial:  # it says that the variant is trained
        shutil.copyfile(settings.output / checkpoints.ADAPTER, partial)
    return path


def average(run: Path, path: Path) -> None:
    """Write the mean of the adapters in a run's checkpoints, with what the last one says of itself."""
    adapters = [checkpoints.load_adapter(folder) for folder in checkpoints.all_of(run)]
    last = adapters[-1]
    means = {key: torch.stack([each.weights[key].double() for each in adapters]).mean(0) for key in last.weights}
    save_adapter(path, {key: mean.to(last.weights[key].dtype) for key, mean in means.items()}, last.metadata)
