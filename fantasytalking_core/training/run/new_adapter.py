"""The adapter that a run begins or goes on with."""

from typing import Any

import torch

from ...adapter.adapter import Adapter
from ...adapter.audio import AudioWidths
from ...adapter.file import AdapterFile
from ...adapter.identity import IdentityWidths
from ...adapter.motion import MotionWidths
from ...errors import FantasyTalkingError
from .checkpoints import ADAPTER
from .config import Config
from .standing import Standing
from .state import damaged


def adapter_of(standing: Standing, model: int, blocks: int) -> Adapter:
    """The adapter of a run, in float32: that of the checkpoint, else with its parts as in `init` where that holds them.

    Args:
        model, blocks: of the DiT.

    Raises:
        FantasyTalkingError: a file that is for another DiT or cache, or not this run's.
    """
    dataset, file = standing.dataset, standing.file
    config, ranges = dataset.config, dataset.index.ranges
    face = IdentityWidths(**vars(config.identity), model=model, blocks=blocks, embedding=dataset.face_width)
    sizes: dict[str, Any] = {
        "audio": AudioWidths(dataset.first.speech.shape[1], config.audio.projected, model, blocks),
        "identity": face if "identity" in config.parts else None,
        "motion": MotionWidths(model, config.motion.hidden) if "motion" in config.parts else None,
    }
    if file is not None:
        check_dit(standing, file, model, blocks)
        if standing.folder is not None:
            check_checkpoint(standing, file, sizes)
        sizes |= {part: getattr(file, part) for part in file.parts}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        adapter = Adapter(**sizes, ranges=ranges)
    if file is not None:
        adapter.load_state_dict({key: value.float() for key, value in file.weights.items()}, strict=standing.folder is not None)
    return adapter


def freeze_audio(adapter: Adapter, dtype: torch.dtype) -> None:
    """Leave the audio weights as they are: without gradients, and in the DiT's type where the blocks compute with them."""
    adapter.audio.requires_grad_(False)
    for weight in adapter.audio.blocks.parameters():
        weight.data = weight.data.to(dtype)


def check_dit(standing: Standing, file: AdapterFile, model: int, blocks: int) -> None:
    if (file.audio.model, file.audio.blocks) == (model, blocks):
        return
    name, what = standing.dataset.config.init, "set init to an adapter of this model, or leave it out"
    if standing.folder is not None:
        name, what = standing.folder / ADAPTER, "set model back to go on, or choose another output"
    raise FantasyTalkingError(
        f"'{name}' is an adapter for a DiT of {file.audio.blocks} blocks of width {file.audio.model}, the model has {blocks} "
        f"of width {model}: {what}."
    )


def check_checkpoint(standing: Standing, file: AdapterFile, sizes: dict[str, Any]) -> None:
    """Refuse an adapter that the run, whose settings are the same as they were, can't have written."""
    assert standing.folder is not None
    config: Config = standing.dataset.config
    path, ranges = standing.folder / ADAPTER, standing.dataset.index.ranges
    expected = {"audio", *config.parts}
    if set(file.parts) != expected:
        raise damaged(path, f"it holds {', '.join(file.parts)}, expected {', '.join(sorted(expected))}")
    for part in file.parts:
        if config.init is None and getattr(file, part) != sizes[part]:  # else it may have those of init
            raise damaged(path, f"its {part} weights have other sizes than the run")
    if file.motion is not None and file.ranges != ranges:
        raise FantasyTalkingError(
            f"'{standing.folder}' belongs to another run: the cache's ranges of motion were {file.ranges.to_json()}, are "
            f"{ranges.to_json()}. Set cache back to go on, or choose another output; init can start that one from this "
            "checkpoint's adapter."
        )
