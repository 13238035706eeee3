"""A face in the place where ArcFace models expect it: five-point alignment to their template, or the middle.

Coordinates are those of InsightFace, whose models were trained on such pictures: x and y in pixels, the centre of the
first pixel at (0, 0).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange

from ..errors import FantasyTalkingError

SIZE = 112
"""Side of an aligned face in pixels."""
TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Where both eyes, the nose tip and both mouth corners lie in it, the left of the picture first (InsightFace's
`arcface_src`)."""
MIN_FACE_SIDE = 32
"""Pixels; a smaller picture tells nobody apart."""
MIN_SPREAD = 5.0
"""Pixels, root mean square of the five points' distances to their middle; that of a face about 20 pixels wide."""
MAX_SHRINK = 2.0
"""Pixels of the picture per pixel of the aligned face; with more of them, bilinear sampling skips some."""


def faces(pictures: torch.Tensor, points: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """Pictures `[B, H, W, 3]` to faces `[B, 112, 112, 3]`: aligned where a picture's five points are known, else the
    middle.

    Raises:
        FantasyTalkingError: the pictures or a face in them are too small.
    """
    _, height, width, _ = pictures.shape
    if min(height, width) < MIN_FACE_SIDE:
        raise FantasyTalkingError(
            f"face is {width}×{height} pixels, expected at least {MIN_FACE_SIDE} on each side: use a larger picture."
        )
    pairs = zip(pictures, points, strict=True)
    return torch.stack([centred(picture) if five is None else aligned(picture, five) for picture, five in pairs])


def similarity(points: torch.Tensor) -> tuple[complex, complex]:
    """The turn, scale and shift that bring five points `[5, 2]` closest to the template, in the least squares.

    With points as complex numbers it is `a·z + b`: neither shear nor mirror can be written so. The minimum has a closed
    form (Umeyama 1991, in two dimensions): `a = Σ conj(z − z̄)·(w − w̄) / Σ |z − z̄|²`, `b = w̄ − a·z̄`.

    Raises:
        FantasyTalkingError: the points lie (almost) on one spot, or form no face.
    """
    found = [complex(x, y) for x, y in points.tolist()]
    wanted = [complex(x, y) for x, y in TEMPLATE]
    centre, target = sum(found) / len(found), sum(wanted) / len(wanted)
    squares = sum(abs(z - centre) ** 2 for z in found)
    spread = math.sqrt(squares / len(found))
    products = sum((z - centre).conjugate() * (w - target) for z, w in zip(found, wanted, strict=True))
    a = products / squares if squares else 0
    if not spread >= MIN_SPREAD or not a:
        raise FantasyTalkingError(
            f"The landmarks are of no face or too small a one: eyes, nose and mouth lie {spread:.1f} pixels around "
            f"their middle, expected {MIN_SPREAD:g} or more. Use a larger picture of the face, or leave face_landmarks "
            "unwired."
        )
    return a, target - a * centre


def aligned(picture: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """The face at five points, upright and in the template's size; what lies outside of the picture is black.

    Bilinear, as InsightFace's `norm_crop`. A face that is more than twice as large as the template is first shrunk
    with antialiasing: each pixel would else be made of four of its many pixels, and fine texture turn into noise.

    Args:
        picture: `[H, W, 3]` float32.
        points: `[5, 2]` both eyes, nose tip, both mouth corners, x and y in pixels.

    Returns:
        `[112, 112, 3]`.
    """
    a, b = similarity(points)
    height, width, _ = picture.shape
    channels = rearrange(picture, "h w c -> 1 c h w")
    shrink = 1 / abs(a)
    if shrink > MAX_SHRINK:
        channels = _resized(channels, max(round(height / shrink), 1), max(round(width / shrink), 1))
    steps = torch.arange(SIZE, dtype=torch.float64)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    back = 1 / a  # from the aligned face to the picture
    x, y = x - b.real, y - b.imag
    x, y = back.real * x - back.imag * y, back.imag * x + back.real * y
    # grid_sample counts from −1 at the left edge of the first pixel to 1 at the right edge of the last one
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    face = F.grid_sample(channels, grid[None].to(channels), mode="bilinear", padding_mode="zeros", align_corners=False)
    return rearrange(face, "1 c h w -> h w c")


def centred(picture: torch.Tensor) -> torch.Tensor:
    """The largest square in the middle of a picture `[H, W, 3]`, as `[112, 112, 3]`."""
    height, width, _ = picture.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = rearrange(picture[top : top + side, left : left + side], "h w c -> 1 c h w")
    return rearrange(_resized(square, SIZE, SIZE), "1 c h w -> h w c")


def _resized(channels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return F.interpolate(channels, (height, width), mode="bilinear", align_corners=False, antialias=True)
