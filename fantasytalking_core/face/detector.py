"""Faces without a download: the frontal-face cascade that scikit-image ships.

A cascade alone sees faces in hair and gravel, too. So it looks several times, mirrored and tilted, and every
window that it accepts is a vote: a face collects many at one place and size, a chance pattern few.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import FantasyTalkingError
from .landmarks import Face

if TYPE_CHECKING:
    import numpy as np

WORKING_PIXELS = 400**2
"""Any picture is looked at in this many pixels: a large one costs no more, a small one is seen as well."""
BORDER = 0.25
"""Of the shorter side, added on every side: the cascade wants to see around a face that touches the border."""
SMALLEST = 0.09
"""Of the shorter side; smaller faces are background."""
TILTS = (0.0, 12.0, -12.0)
"""Degrees; the cascade itself knows upright faces."""
SCALE_STEP = 1.1
MIN_VOTES = 28
"""On pictures of faces tilted by up to 15 degrees and on textures, faces got 33 to 132, all else at most 25."""
SMALLEST_IN_CROP, VOTES_IN_CROP = 0.15, 14
"""In the middle of a crop there should be a face, of at least a fifth of its side. Drawn faces that got 28 votes in their
portraits got 19 and more in crops of them."""
SAME_FACE = 0.5
"""Intersection over union from which on two windows vote for each other."""
COVERED = 0.3
"""Part of the smaller of two boxes from which on they can't both be faces."""


@dataclass(frozen=True)
class Box:
    """A face's box in pixels; the right and bottom edges are where it ends, 1 beyond its last pixel.

    Attributes:
        face: the landmarks that it is of, where they are known.
    """

    left: float
    top: float
    right: float
    bottom: float
    face: Face | None = None

    @property
    def size(self) -> float:
        """The longer side."""
        return max(self.right - self.left, self.bottom - self.top)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def holds(self, x: float, y: float) -> bool:
        return self.left <= x <= self.right and self.top <= y <= self.bottom


class FaceDetector:
    """Finds frontal faces, upright or tilted by up to about 15 degrees.

    Raises:
        FantasyTalkingError: scikit-image is not installed.
    """

    def __init__(self) -> None:
        try:
            from skimage.data import lbp_frontal_face_cascade_filename
            from skimage.feature import Cascade
        except ImportError as error:
            raise FantasyTalkingError(
                "Finding a face needs scikit-image, which is not installed: install scikit-image into ComfyUI's Python, "
                "or wire face_landmarks."
            ) from error
        self.cascade = Cascade(lbp_frontal_face_cascade_filename())

    def __call__(self, picture: torch.Tensor) -> list[Box]:
        """The faces in a picture `[H, W, 3]`, from the largest."""
        return sorted(self._boxes(picture, SMALLEST, MIN_VOTES), key=lambda box: -box.size)

    def expected(self, picture: torch.Tensor) -> Box | None:
        """The face that a picture `[H, W, 3]` was cut to, or is of: the one in its middle, else the largest."""
        height, width, _ = picture.shape
        in_middle = [b for b in self._boxes(picture, SMALLEST_IN_CROP, VOTES_IN_CROP) if b.holds(width / 2, height / 2)]
        return in_middle[0] if in_middle else next(iter(self(picture)), None)

    def _boxes(self, picture: torch.Tensor, smallest: float, min_votes: int) -> list[Box]:
        """From the clearest."""
        grey, scale, border = _working_picture(picture)
        faces = (_faces(self._windows(grey, smallest), min_votes) - border) / scale
        return [Box(*face) for face in faces.tolist()]

    def _windows(self, grey: "np.ndarray", smallest: float) -> "np.ndarray":
        """Left, top, right, bottom of every window that the cascade takes for a face in any view."""
        import numpy as np
        from PIL import Image

        height, width = grey.shape
        picture, mean = Image.fromarray(grey), int(grey.mean())
        windows = []
        for tilt in TILTS:
            tilted = np.asarray(picture.rotate(tilt, Image.Resampling.BICUBIC, fillcolor=mean))
            cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
            for mirrored in (False, True):
                for left, top, size in self._look(np.ascontiguousarray(tilted[:, ::-1]) if mirrored else tilted, smallest):
                    x, y = left + (size - width) / 2, top + (size - height) / 2
                    x = -x if mirrored else x
                    x, y = x * cos - y * sin + width / 2, x * sin + y * cos + height / 2
                    windows.append((x - size / 2, y - size / 2, x + size / 2, y + size / 2))
        return np.array(sorted(windows)).reshape(-1, 4)  # sorted: the cascade's threads finish in any order

    def _look(self, grey: "np.ndarray", smallest: float) -> list[tuple[int, int, int]]:
        side = min(grey.shape)
        least = max(self.cascade.window_height, int(smallest * side / (1 + 2 * BORDER)))
        found = self.cascade.detect_multi_scale(
            img=grey,
            scale_factor=SCALE_STEP,
            step_ratio=1.0,
            min_size=(least, least),
            max_size=(side, side),
            min_neighbor_number=1,
            intersection_score_threshold=2.0,  # above 1: every window is kept as it is
        )
        return [(window["c"], window["r"], window["width"]) for window in found]


def _working_picture(picture: torch.Tensor) -> tuple["np.ndarray", float, int]:
    """The picture in grey, full contrast and working size with a border; its scale, and the border's pixels."""
    height, width, _ = picture.shape
    scale = math.sqrt(WORKING_PIXELS / (height * width))
    grey = picture.detach().float().cpu().mean(-1)
    grey = (grey - grey.min()) / (grey.max() - grey.min()).clamp(min=1e-6)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    grey = torch.nn.functional.interpolate(grey[None, None], size, mode="bicubic", antialias=True)
    border = round(BORDER * min(size))
    grey = torch.nn.functional.pad(grey, (border,) * 4, mode="replicate")
    return (grey[0, 0].clamp(0, 1) * 255).round().byte().numpy(), scale, border


def _faces(windows: "np.ndarray", min_votes: int) -> "np.ndarray":
    """Windows `[N, 4]` to the boxes `[n, 4]` that got enough votes, from the clearest."""
    import numpy as np

    def compare(box: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
        corners = np.maximum(box[:2], windows[:, :2]), np.minimum(box[2:], windows[:, 2:])
        shared = (corners[1] - corners[0]).clip(0).prod(1)
        area, areas = (box[2:] - box[:2]).prod(), (windows[:, 2:] - windows[:, :2]).prod(1)
        return shared / (area + areas - shared), shared / np.minimum(area, areas)

    agree = np.array([compare(window)[0] > SAME_FACE for window in windows], dtype=bool)
    left, found = np.ones(len(windows), bool), []
    while left.any():
        votes = agree[:, left].sum(1) * left
        best = votes.argmax()
        if votes[best] < min_votes:
            break
        group = agree[best] & left
        found.append(np.median(windows[group], axis=0))
        left &= ~group & (compare(found[-1])[1] < COVERED)
    return np.array(found).reshape(-1, 4)
