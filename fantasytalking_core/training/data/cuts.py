"""Cuts inside of a clip: two shots in one clip teach that people turn into others."""

import numpy as np
from PIL import Image

SMALL = 32
"""Pixels of the shorter side at which pictures are compared: what is finer is motion or noise."""
NEIGHBOURS = 3
"""Differences before and after one that say how much the clip moves there."""
MIN_CONTRASTS = 0.25
"""How different two pictures are at a cut at least, in standard deviations of a picture's pixels; unrelated ones by about 1."""
MIN_MOTIONS = 5.0
"""And by how much more than the pictures around."""
FLASH = 4
"""Frames before and after, of which the pictures are alike where it was a flash, or a hand that passed the lens."""


def first_cut(pictures: np.ndarray, sources: np.ndarray) -> int | None:
    """The first frame after a cut, or None.

    A cut is a difference between neighbours that is large for a picture of this contrast, large for the motion around, and
    stays.

    Args:
        pictures: uint8 `[F, H, W, 3]`.
        sources: per frame, the number of the video's frame that it is: one that is shown twice is no standstill.
    """
    frames = np.flatnonzero(np.diff(sources, prepend=-1))
    small = _small(pictures[frames])
    differences = np.abs(np.diff(small, axis=0)).mean((1, 2, 3))
    contrast = small.std((1, 2)).mean(-1)
    for index, difference in enumerate(differences):
        around = np.r_[differences[max(index - NEIGHBOURS, 0) : index], differences[index + 1 :][:NEIGHBOURS]]
        motion = np.median(around) if len(around) else 0.0
        large = MIN_CONTRASTS * contrast[index : index + 2].mean()
        before, after = small[max(index - FLASH, 0)], small[min(index + 1 + FLASH, len(small) - 1)]
        if difference > max(large, MIN_MOTIONS * motion) and np.abs(after - before).mean() > large:
            return int(frames[index + 1])
    return None


def _small(pictures: np.ndarray) -> np.ndarray:
    """Float32 `[F, h, w, 3]`, each pixel the mean of the area that it stands for."""
    _, height, width, _ = pictures.shape
    scale = max(min(height, width) / SMALL, 1.0)
    size = max(round(width / scale), 1), max(round(height / scale), 1)
    made = [Image.fromarray(picture).resize(size, Image.Resampling.BOX) for picture in pictures]
    return np.stack([np.asarray(picture, np.float32) for picture in made])
