"""Where a video's pictures go in those of a clip: scaled and cut to the target's size, never stretched."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from ...errors import FantasyTalkingError
from ...latent_grid import MIN_FRAMES, MULTIPLE, is_clip_length
from ...speech.waveform import TRAINED_FPS, TRAINED_FRAMES, check_fps

LONGEST = 8
"""Times that scaled pictures are longer than the clip at most: memory holds them in their whole."""


@dataclass(frozen=True)
class Shape:
    """What every clip has: frames (4n + 1), frames per second, width and height in pixels (multiples of 16).

    Raises:
        FantasyTalkingError: one of them is out of range.
    """

    frames: int = TRAINED_FRAMES
    fps: float = TRAINED_FPS
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
    """How a video's pictures become those of a clip: scaled until they cover these, never stretched, and cut to them.

    Attributes:
        size: width and height of the video's pictures, in their own pixels.
        whole: of the scaled pictures.
        width, height: of the clip.
        left, top: where the clip begins in the scaled pictures.
    """

    size: tuple[int, int]
    whole: tuple[int, int]
    width: int
    height: int
    left: int
    top: int

    @classmethod
    def centred(cls, size: tuple[int, int], aspect: float, width: int, height: int) -> "Placement":
        """In the middle of pictures of a `size` (width, height) whose pixels are `aspect` times as wide as high.

        Raises:
            FantasyTalkingError: pictures so long that nearly nothing of them would be left.
        """
        shown = size[0] * aspect
        scale = max(width / shown, height / size[1])
        whole = max(width, round(shown * scale)), max(height, round(size[1] * scale))
        if max(whole[0] / width, whole[1] / height) > LONGEST:
            raise FantasyTalkingError(
                f"its pictures have {size[0]}×{size[1]} pixels, too narrow for clips of {width}×{height}: cut it first."
            )
        return cls(size, whole, width, height, (whole[0] - width) // 2, (whole[1] - height) // 2)

    def around(self, x: float, y: float) -> "Placement":
        """With the place `(x, y)` of the clip as near to its middle as the pictures allow."""
        left, top = round(self.left + x - self.width / 2), round(self.top + y - self.height / 2)
        return replace(
            self,
            left=min(max(left, 0), self.whole[0] - self.width),
            top=min(max(top, 0), self.whole[1] - self.height),
        )

    def scaled(self, picture: np.ndarray) -> np.ndarray:
        """A picture of the video, `[H, W, 3]` uint8, in its whole."""
        return np.asarray(Image.fromarray(picture).resize(self.whole, Image.Resampling.LANCZOS))

    def cut(self, pictures: np.ndarray) -> np.ndarray:
        """What of scaled pictures `[F, H, W, 3]` belongs to the clip."""
        return pictures[:, self.top : self.top + self.height, self.left : self.left + self.width]

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the clip per pixel of the video, across and down."""
        return self.whole[0] / self.size[0], self.whole[1] / self.size[1]

    @property
    def corner(self) -> torch.Tensor:
        """`[2]`: x and y where the clip begins in the scaled pictures."""
        return torch.tensor([self.left, self.top])

    def points(self, points: torch.Tensor) -> torch.Tensor:
        """`[…, 2]`: x and y in pixels of the video to those of the clip."""
        return points * points.new_tensor(self.scale) - self.corner.to(points)
