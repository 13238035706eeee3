"""Where a video's pictures go in those of a clip: scaled and cut to the target's size, never stretched."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ...errors import FantasyTalkingError
from ...latent_grid import MIN_FRAMES, SPATIAL, is_clip_length
from ...speech.waveform import TRAINED_FRAMES, check_fps

MULTIPLE = 2 * SPATIAL
"""Pixels: the stride of Wan2.1's VAE times the patches of the DiT."""


@dataclass(frozen=True)
class Shape:
    """What every clip has: frames (4n + 1), frames per second, width and height in pixels (multiples of 16).

    Raises:
        FantasyTalkingError: one of them is out of range.
    """

    frames: int = TRAINED_FRAMES
    fps: float = 23.0
    width: int = 512
    height: int = 512

    def __post_init__(self) -> None:
        check_fps(self.fps)
        if not is_clip_length(self.frames):
            raise FantasyTalkingError(f"frames is {self.frames}, expected 4n + 1 and at least {MIN_FRAMES}, such as 81.")
        for name, side in (("width", self.width), ("height", self.height)):
            if side < MULTIPLE or side % MULTIPLE:
                raise FantasyTalkingError(f"{name} is {side} pixels, expected a multiple of {MULTIPLE}.")

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


@dataclass(frozen=True)
class Placement:
    """How a video's pictures become those of the clip: a box of them `(left, top, right, bottom)`, scaled.

    The box has the target's proportions and lies in the middle, so nothing is stretched.
    """

    box: tuple[float, float, float, float]
    width: int
    height: int

    @classmethod
    def centred(cls, size: tuple[int, int], aspect: float, width: int, height: int) -> "Placement":
        """For pictures of a `size` (width, height) whose pixels are `aspect` times as wide as high."""
        shown = size[0] * aspect
        scale = max(width / shown, height / size[1])
        box_width, box_height = width / scale / aspect, height / scale
        left, top = (size[0] - box_width) / 2, (size[1] - box_height) / 2
        return cls((left, top, left + box_width, top + box_height), width, height)

    def picture(self, picture: np.ndarray) -> np.ndarray:
        """`[H, W, 3]` uint8 to the target's size."""
        height, width, _ = picture.shape
        box = (max(self.box[0], 0.0), max(self.box[1], 0.0), min(self.box[2], width), min(self.box[3], height))  # rounding
        return np.asarray(Image.fromarray(picture).resize((self.width, self.height), Image.Resampling.LANCZOS, box))

    @property
    def scale(self) -> float:
        """Pixels of the clip per pixel of the video, across."""
        return self.width / (self.box[2] - self.box[0])

    def points(self, points: torch.Tensor) -> torch.Tensor:
        """`[…, 2]`: x and y in pixels of the video to those of the clip."""
        left, top, _, bottom = self.box
        return (points - points.new_tensor((left, top))) * points.new_tensor((self.scale, self.height / (bottom - top)))
