"""The adapter that a run begins with."""

from typing import Any

import torch

from ...adapter.adapter import Adapter
from ...adapter.audio import AudioWidths
from ...adapter.file import AdapterFile, read_adapter
from ...adapter.identity import IdentityWidths
from ...adapter.motion import MotionRanges, MotionWidths
from ...errors import FantasyTalkingError
from .config import Config


def new_adapter(config: Config, model: int, blocks: int, audio: int, face: int, ranges: MotionRanges) -> Adapter:
    """The adapter to train, in float32: its parts as in `init` where that holds them, else new.

    Args:
        model, blocks: of the DiT.
        audio, face: widths of the cache's audio tokens and face embeddings.
        ranges: of motion in the cache.

    Raises:
        FantasyTalkingError: an `init` for another DiT, or with a part that is not among `parts`.
    """
    file = None if config.init is None else read_adapter(config.init)
    face_widths = IdentityWidths(**vars(config.identity), model=model, blocks=blocks, embedding=face)
    sizes: dict[str, Any] = {
        "audio": AudioWidths(audio, config.audio.projected, model, blocks),
        "identity": face_widths if "identity" in config.parts else None,
        "motion": MotionWidths(model, config.motion.hidden) if "motion" in config.parts else None,
    }
    if file is not None:
        check_init(config, file, model, blocks)
        sizes |= {part: getattr(file, part) for part in file.parts}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        adapter = Adapter(**sizes, ranges=ranges)
    if file is not None:
        adapter.load_state_dict({key: value.float() for key, value in file.weights.items()}, strict=False)
    return adapter


def check_init(config: Config, file: AdapterFile, model: int, blocks: int) -> None:
    if (file.audio.model, file.audio.blocks) != (model, blocks):
        raise FantasyTalkingError(
            f"'{config.init}' is an adapter for a DiT of {file.audio.blocks} blocks of width {file.audio.model}, the model has "
            f"{blocks} of width {model}: set init to an adapter of this model, or leave it out."
        )
    if left_out := set(file.parts) - set(config.parts):
        raise FantasyTalkingError(f"'{config.init}' holds {', '.join(left_out)}, which parts leaves out: add it to parts.")
