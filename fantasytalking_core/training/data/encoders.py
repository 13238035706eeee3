"""The frozen models whose output the cache holds, as `prepare` sees them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

SIDE_FILE = "side file"
"""What a cache calls the model of a part that comes from side files."""
PARTS = ("vae", "wav2vec", "text", "clip", "landmarks", "face")


@dataclass(frozen=True, eq=False)
class Encoders:
    """One function for each model; None where the side files supply what it would give.

    Attributes:
        video: frames `[F, H, W, 3]` in [0, 1] to latents `[16, T, h, w]` in the space that the DiT sees.
        speech: mono samples at 16 kHz `[samples]` to Wav2Vec2 tokens `[L, audio]`.
        text: a prompt to its embedding `[L, text]`, without the zero rows that it is padded with.
        image: a picture `[H, W, 3]` to CLIP's image tokens `[257, 1280]`.
        landmarks: frames `[F, H, W, 3]` to the host's FACE_LANDMARKS, one face per frame or none.
        face: a picture `[H, W, 3]` and the face's five points `[5, 2]` in it to its embedding `[D]`.
        models: by part, the files' names and sizes, by which a cache is known to be of the same models.
    """

    video: Callable[[torch.Tensor], torch.Tensor]
    speech: Callable[[torch.Tensor], torch.Tensor]
    text: Callable[[str], torch.Tensor] | None = None
    image: Callable[[torch.Tensor], torch.Tensor] | None = None
    landmarks: Callable[[torch.Tensor], Mapping[str, Any]] | None = None
    face: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    models: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(PARTS, SIDE_FILE))
