"""The value that travels on an FT_SPEECH wire."""

from dataclasses import dataclass

import torch

from .windows import latent_frames, window_map


@dataclass(frozen=True, eq=False)
class Speech:
    """The encoded speech of one clip.

    Attributes:
        tokens: `[L, width]` float32, Wav2Vec2's last hidden states, about 50 per second, on the CPU.
        frames: video frames of the clip, 4n + 1.
        fps: frames per second.
    """

    tokens: torch.Tensor
    frames: int
    fps: float

    @property
    def latent_frames(self) -> int:
        return latent_frames(self.frames)

    def windows(self) -> torch.Tensor:
        """int64 `[T, l′]`, see `windows.window_map`."""
        return window_map(self.tokens.shape[0], self.frames)
