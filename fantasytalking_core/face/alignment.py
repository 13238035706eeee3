"""A face in the place where ArcFace models expect it: alignment to their template by five points or a box, or the middle.

Coordinates are those of InsightFace, whose models were trained on such pictures: x and y in pixels, the centre of the
first pixel at (0, 0).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange

from ..errors import FantasyTalkingError
from .detector import Box

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
MIN_LIKENESS = 0.5
"""The part of the template's squares that the points, turned, scaled and shifted, explain. Photographed faces have 0.93 and
more, a face turned by 60 degrees 0.84, a profile 0.55; points of a mirrored face have 0.05, points on a line across 0.39."""
BOX_SQUARE, BOX_ABOVE = 1.10, 0.07
"""In sizes of a box of the built-in cascade: the side of the square that an aligned face shows, and how far its middle lies
above that of the box. Measured on 66 photographs of faces, with standard deviations of 0.06 and 0.016."""
MAX_SHRINK = 2.0
"""Pixels of the picture per pixel of the aligned face; with more of them, bilinear sampling skips some."""


def faces(pictures: torch.Tensor, points: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """Pictures `[B, H, W, 3]` to faces `[B, 112, 112, 3]`: aligned where a picture's five points are known, else the
    middle.

    Raises:
        FantasyTalkingError: the pictures or a face in them are too small, or five points are of no face.
    """
    check_size(pictures)
    pairs = zip(pictures, points, strict=True)
    return torch.stack([centred(picture) if five is None else aligned(picture, five) for picture, five in pairs])


def check_size(pictures: torch.Tensor) -> None:
    """Raises FantasyTalkingError where pictures `[B, H, W, 3]` are too small for a face to be recognised."""
    _, height, width, _ = pictures.shape
    if min(height, width) < MIN_FACE_SIDE:
        raise FantasyTalkingError(
            f"face is {width}×{height} pixels, expected at least {MIN_FACE_SIDE} on each side: use a larger picture."
        )


def points_in(box: Box) -> torch.Tensor:
    """`[5, 2]`: about where the five points of a face lie in its box by the built-in cascade."""
    x, y = box.centre
    middle = torch.tensor([x, y - BOX_ABOVE * box.size]) - 0.5  # of the first pixel's centre, as all points
    return middle + (torch.tensor(TEMPLATE) - (SIZE - 1) / 2) * (BOX_SQUARE * box.size / SIZE)


def similarity(points: torch.Tensor) -> tuple[complex, complex]:
    """The turn, scale and shift that bring five points `[5, 2]` closest to the template, in the least squares.

    With points as complex numbers it is `a·z + b`: neither shear nor mirror can be written so. The minimum has a closed
    form (Umeyama 1991, in two dimensions): `a = Σ conj(z − z̄)·(w − w̄) / Σ |z − z̄|²`, `b = w̄ − a·z̄`.

    Raises:
        FantasyTalkingError: the points lie (almost) on one spot, or not as in a face.
    """
    found = [complex(x, y) for x, y in points.tolist()]
    wanted = [complex(x, y) for x, y in TEMPLATE]
    centre, target = sum(found) / len(found), sum(wanted) / len(wanted)
    squares = sum(abs(z - centre) ** 2 for z in found)
    spread = math.sqrt(squares / len(found))
    if not spread >= MIN_SPREAD:
        raise FantasyTalkingError(
            f"The landmarks are of no face or too small a one: eyes, nose and mouth lie {spread:.1f} pixels around "
            f"their middle, expected {MIN_SPREAD:g} or more. Use a larger picture of the face, or leave face_landmarks "
            "unwired."
        )
    products = sum((z - centre).conjugate() * (w - target) for z, w in zip(found, wanted, strict=True))
    likeness = abs(products) ** 2 / (squares * sum(abs(w - target) ** 2 for w in wanted))
    if not likeness >= MIN_LIKENESS:
        raise FantasyTalkingError(
            f"The landmarks are of no face: to {likeness:.0%} eyes, nose and mouth lie as in one, expected "
            f"{MIN_LIKENESS:.0%} or more. Wire the landmarks of this very picture, not of its mirror image, or leave "
            "face_landmarks unwired."
        )
    a = products / squares
    return a, target - a * centre


def is_face(points: torch.Tensor) -> bool:
    """Whether `similarity` takes five points."""
    try:
        similarity(points)
    except FantasyTalkingError:
        return False
    return True


def aligned(picture: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """The face at five points, upright and in the template's size; outside of the picture, the pixel at its edge goes on.

    Bilinear, as InsightFace's `norm_crop`, which has black outside: with the edge, a face and its crop, whose edge goes on
    as well, are the same. A face that is more than twice as large as the template is first shrunk with antialiasing: each
    pixel would else be made of four of its many pixels, and fine texture turn into noise.

    Args:
        picture: `[H, W, 3]` float32.
        points: `[5, 2]` both eyes, nose tip, both mouth corners, x and y in pixels.

    Returns:
        `[112, 112, 3]`.
    """
    height, width, _ = picture.shape
    grid, shrink = _grid(points, height, width)
    channels = rearrange(picture, "h w c -> 1 c h w")
    if shrink > MAX_SHRINK:
        channels = _resized(channels, max(round(height / shrink), 1), max(round(width / shrink), 1))
    face = F.grid_sample(channels, grid[None].to(channels), mode="bilinear", padding_mode="border", align_corners=False)
    return rearrange(face, "1 c h w -> h w c")


def outside(picture: torch.Tensor, points: torch.Tensor) -> float:
    """The part of an aligned face that lies outside of its picture `[H, W, 3]`, 0 to 1."""
    grid, _ = _grid(points, *picture.shape[:2])
    return float((grid.abs() > 1).any(-1).double().mean())


def _grid(points: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, float]:
    """`[112, 112, 2]`, where the aligned face's pixels lie in the picture, from −1 at its left or upper edge to 1 at the other;
    and the picture's pixels per pixel of the face."""
    a, b = similarity(points)
    steps = torch.arange(SIZE, dtype=torch.float64)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    back = 1 / a  # from the aligned face to the picture
    x, y = x - b.real, y - b.imag
    x, y = back.real * x - back.imag * y, back.imag * x + back.real * y
    return torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1), abs(back)


def centred(picture: torch.Tensor) -> torch.Tensor:
    """The largest square in the middle of a picture `[H, W, 3]`, as `[112, 112, 3]`."""
    height, width, _ = picture.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = rearrange(picture[top : top + side, left : left + side], "h w c -> 1 c h w")
    return rearrange(_resized(square, SIZE, SIZE), "1 c h w -> h w c")


def _resized(channels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return F.interpolate(channels, (height, width), mode="bilinear", align_corners=False, antialias=True)
