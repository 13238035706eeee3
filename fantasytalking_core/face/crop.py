"""The face of a portrait, cut out: a square around it that is never stretched and may leave the picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import FantasyTalkingError, check_number
from .detector import Box
from .drawing import Drawing
from .landmarks import FaceLandmarks

MAX_PADDING = 2.0
MAX_PIXELS, MAX_GROWTH = 2**28, 4
"""Pixels of all crops together, 3 GB; more only where the pictures have a quarter of them."""
CHOSEN, OTHER = (0, 230, 118), (255, 145, 0)
"""Colours of the preview: the face that is cut out, and the others."""


@dataclass(frozen=True)
class Crop:
    """A square of whole pixels, in part perhaps outside of the picture."""

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, face: Box, padding: float) -> "Crop":
        """Centred on the face, with `padding` of its size on every side."""
        side = max(1, round(face.size * (1 + 2 * padding)))
        x, y = face.centre
        return cls(round(x - side / 2), round(y - side / 2), side)

    def cut(self, picture: torch.Tensor) -> torch.Tensor:
        """`[side, side, 3]` of a picture `[H, W, 3]`; outside of it, the pixel at its edge goes on."""
        height, width, _ = picture.shape
        along = torch.arange(self.side, device=picture.device)
        return picture[(self.top + along).clamp(0, height - 1)[:, None], (self.left + along).clamp(0, width - 1)]

    def mask(self, picture: torch.Tensor) -> torch.Tensor:
        """`[H, W]`: 1 inside, 0 elsewhere."""
        mask = torch.zeros(picture.shape[:2], device=picture.device)
        mask[max(0, self.top) : max(0, self.top + self.side), max(0, self.left) : max(0, self.left + self.side)] = 1
        return mask


def squares(pictures: torch.Tensor, faces: Sequence[Box], padding: float) -> list[Crop]:
    """What is cut out of pictures `[B, H, W, 3]`: a square around the face of each.

    Raises:
        FantasyTalkingError: the padding is none, or the crops would be far larger than the pictures.
    """
    check_number("padding", padding, 0, MAX_PADDING)
    crops = [Crop.around(face, padding) for face in faces]
    side, (count, height, width, _) = max(crop.side for crop in crops), pictures.shape
    if count * side**2 > max(MAX_PIXELS, MAX_GROWTH * count * height * width):
        raise FantasyTalkingError(
            f"The crops would be {count} of {side}×{side} pixels, of pictures of {width}×{height}: lower padding, or give "
            "fewer pictures at once."
        )
    return crops


def cut_out(pictures: torch.Tensor, crops: Sequence[Crop]) -> torch.Tensor:
    """One crop of each picture `[B, H, W, 3]` as `[B, S, S, 3]`: S is the largest side, smaller ones are enlarged."""
    side = max(crop.side for crop in crops)
    faces = []
    for picture, crop in zip(pictures, crops, strict=True):
        face = crop.cut(picture)
        if crop.side != side:
            face = face.movedim(-1, 0)[None]
            face = torch.nn.functional.interpolate(face, (side, side), mode="bicubic", antialias=True)[0]
            face = face.movedim(0, -1).clamp(0, 1)
        faces.append(face)
    return torch.stack(faces)


def landmarks_in(crops: Sequence[Crop], faces: Sequence[Box], connections: Mapping[str, Any]) -> FaceLandmarks:
    """The landmarks of the faces in what `cut_out` gives, none where they are not known."""
    side = max(crop.side for crop in crops)
    frames = tuple(
        () if box.face is None else (box.face.cut_out(crop.left, crop.top, side / crop.side),)
        for box, crop in zip(faces, crops, strict=True)
    )
    return FaceLandmarks(frames, side, side, *([connections] if connections else []))


def preview(picture: torch.Tensor, faces: Sequence[Box], face_index: int, crop: Crop) -> torch.Tensor:
    """The picture `[H, W, 3]` with every face's box and index, and the square that is cut out."""
    drawing = Drawing(picture)
    drawing.outline(crop.left, crop.top, crop.left + crop.side, crop.top + crop.side, CHOSEN, 2 * drawing.line)
    for index in sorted(range(len(faces)), key=lambda index: index == face_index):  # the chosen one on top
        drawing.face(faces[index], index, CHOSEN if index == face_index else OTHER)
    return drawing.finished()
