"""Who of several people in a picture hears what: every pixel belongs to the nearest face.

An idea of this project and not of the paper, which has one speaker: a speech that is heard only where its speaker is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..errors import FantasyTalkingError, check_number
from . import find
from .detector import Box
from .drawing import Drawing

BORDER = 0.5
"""Mean face widths from wholly one person's to wholly the other's."""
GROWN, SOFT = 1.5, 0.25
"""The face with hair and chin, in sizes of its box, and the soft edge around it, in its widths."""
MAX_PIXELS = 2**27
"""Of all masks together, half a gigabyte."""
TINT = 0.4
COLOURS = ((0, 230, 118), (255, 145, 0), (64, 156, 255), (236, 64, 160), (255, 235, 59), (0, 229, 255))
"""Of the people in the preview, from the left."""
BY_HAND = "paint a mask of each person by hand and wire it into FantasyTalking Conditioning"


def people(
    pictures: torch.Tensor, landmarks: Any, landmarker: Callable[[], find.Landmarker]
) -> tuple[list[Box], str, list[str]]:
    """The faces in one picture `[1, H, W, 3]` from left to right, by what they were found, and what should be known of it.

    Raises:
        FantasyTalkingError: several pictures, one too small or without a face, a face of less than `find.MIN_FACE` pixels,
            landmarks of another picture.
    """
    if len(pictures) != 1:
        raise FantasyTalkingError(
            f"image is a batch of {len(pictures)} pictures, expected the one that the video starts from: take it out "
            "with Get Image from Batch."
        )
    (found,), warnings = find.find_faces(pictures, landmarks=landmarks, landmarker=landmarker, by_hand=BY_HAND)
    for face in found.boxes:
        width, height = _sides(face)
        if min(width, height) < find.MIN_FACE:
            raise FantasyTalkingError(
                f"A face is {width:.1f}×{height:.1f} pixels large, expected {find.MIN_FACE} or more on both sides: give "
                "landmarks in pixels, or use a larger picture."
            )
    return sorted(found.boxes, key=lambda face: face.centre), find.described([found.by]), warnings


def _sides(face: Box) -> tuple[float, float]:
    return face.right - face.left, face.bottom - face.top


def speaker_masks(faces: Sequence[Box], height: int, width: int, body: float = 1.0) -> torch.Tensor:
    """`[P, height, width]` float32 in [0, 1]: how much of each pixel is each person's.

    For the distances d to the middles of the faces, with a border of half the mean width of a face,
    M_p = clamp(0.5 + (min over q ≠ p of d_q − d_p) / border, 0, 1), divided by the sum over p, which then is 1.

    Args:
        body: by what M_p is multiplied outside of the person's face; below 1 the sum is less.

    Raises:
        FantasyTalkingError: `body` out of range, or more pixels than there is memory for.
    """
    check_number("body", body, 0, 1)
    if len(faces) * height * width > MAX_PIXELS:
        raise FantasyTalkingError(
            f"The masks would be {len(faces)} of {width}×{height} pixels: make the picture smaller first, to the size of the "
            "video."
        )
    middles = torch.tensor([face.centre for face in faces])
    across = torch.arange(width) + 0.5 - middles[:, 0, None]
    down = torch.arange(height) + 0.5 - middles[:, 1, None]
    distances = torch.hypot(down[:, :, None], across[:, None, :])
    masks = torch.ones_like(distances)
    if len(faces) > 1:
        nearest = second = torch.full_like(distances[0], torch.inf)
        for distance in distances:
            second = torch.minimum(second, torch.maximum(nearest, distance))
            nearest = torch.minimum(nearest, distance)
        others = torch.where(distances == nearest, second, nearest)
        border = BORDER * sum(_sides(face)[0] for face in faces) / len(faces)
        masks = (0.5 + (others - distances) / border).clamp(0, 1)
        masks /= masks.sum(0)
    if body < 1:
        for mask, *each in zip(masks, faces, across, down, distances, strict=True):
            mask *= 1 - (1 - body) * _outside(*each)
    return masks


def _outside(face: Box, across: torch.Tensor, down: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    """`[H, W]`: 0 in the ellipse of a face, and from its edge on more, up to 1, along the rays from its middle."""
    width, height = _sides(face)
    radius = torch.hypot(down[:, None] / (GROWN * height / 2), across[None] / (GROWN * width / 2))
    outside = distance * (1 - 1 / radius.clamp(min=1))
    return (outside / (SOFT * width)).clamp(max=1)


def numbered(masks: torch.Tensor, count: int) -> list[torch.Tensor]:
    """The first `count` of `[P, H, W]` masks, `[1, H, W]` each; 0 everywhere for a person who is not there."""
    nobody = torch.zeros_like(masks[:1])
    return [masks[index : index + 1] if index < len(masks) else nobody.clone() for index in range(count)]


def preview(picture: torch.Tensor, faces: Sequence[Box], masks: torch.Tensor) -> torch.Tensor:
    """The picture `[H, W, 3]` with what each person hears in a colour, as far as they hear it, and their numbers from 1."""
    colours = torch.tensor([COLOURS[index % len(COLOURS)] for index in range(len(faces))]) / 255
    masks = masks.to(picture.device)
    tinted = picture * (1 - TINT * masks.sum(0))[..., None]
    for mask, colour in zip(masks, colours.to(picture.device), strict=True):
        tinted += TINT * mask[..., None] * colour
    drawing = Drawing(tinted.clamp(0, 1))
    for index, face in enumerate(faces):
        drawing.face(face, index + 1, COLOURS[index % len(COLOURS)])
    return drawing.finished()
