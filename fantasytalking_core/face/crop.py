"""The face of a portrait, cut out: a square around it that is never stretched and may leave the picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import FantasyTalkingError
from ..pictures import MIN_PICTURE_SIDE
from .detector import Box, FaceDetector
from .landmarks import DETECTOR, landmarks_of

MAX_PADDING = 2.0
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


def find_faces(
    pictures: torch.Tensor, mask: Any = None, face_landmarks: Any = None, done: Callable[[int], Any] = lambda count: None
) -> list[list[Box]]:
    """The faces of every picture, from the largest: by landmarks if there are any, else by the mask, else found.

    Args:
        pictures: `[B, H, W, 3]` in [0, 1].
        mask: a host's MASK, `[B or 1, h, w]`; what is above 0.5 is the face.
        face_landmarks: a host's FACE_LANDMARKS.
        done: called with 1 after each picture.

    Raises:
        FantasyTalkingError: a picture too small or without a face, an empty mask, landmarks or a mask of others.
    """
    height, width = pictures.shape[1:3]
    if min(height, width) < MIN_PICTURE_SIDE:
        raise FantasyTalkingError(
            f"image is {width}×{height} pixels, expected {MIN_PICTURE_SIDE} or more on both sides: load a larger picture."
        )
    if face_landmarks is not None:
        frames = landmarks_of(face_landmarks, pictures).frames
        faces = [[Box(*face.box) for face in frame] for frame in frames]
        todo = f"lower min_confidence of {DETECTOR}, or wire a mask instead of face_landmarks."
    elif mask is not None:
        return [[box] for box in _mask_boxes(mask, pictures)]
    else:
        detector, faces = FaceDetector(), []
        for picture in pictures:
            faces.append(detector(picture))
            done(1)
        todo = f"wire face_landmarks from {DETECTOR}, or a mask painted over the face."
    for number, found in enumerate(faces, 1):
        if not found:
            raise FantasyTalkingError(f"No face was found in {_picture(number, len(faces))}: {todo}")
    return faces


def _mask_boxes(mask: Any, pictures: torch.Tensor) -> list[Box]:
    count, height, width, _ = pictures.shape
    if not isinstance(mask, torch.Tensor) or mask.ndim not in (2, 3) or 0 in mask.shape:
        found = list(mask.shape) if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise FantasyTalkingError(f"mask is {found}, expected a MASK [batch, height, width]: wire a MASK output.")
    masks = mask.detach() > 0.5
    masks = masks[None] if masks.ndim == 2 else masks
    rows, columns = masks.shape[1:]
    for number, one in enumerate(masks, 1):
        if not one.any():
            raise FantasyTalkingError(
                f"The mask of {_picture(number, len(masks))} is empty, expected values above 0.5 on the face: paint over the "
                "face in the mask editor, or unwire mask."
            )
    if len(masks) not in (1, count):
        raise FantasyTalkingError(
            f"mask is a batch of {len(masks)}, image of {count}: expected one mask for all or one for each picture."
        )
    if abs(columns * height / width - rows) > 1 and abs(rows * width / height - columns) > 1:
        raise FantasyTalkingError(
            f"mask is {columns}×{rows}, image {width}×{height}: expected the same proportions, use the mask of this picture."
        )
    boxes = []
    for one in masks:
        ys, xs = (torch.nonzero(one.any(axis)).flatten() for axis in (1, 0))
        boxes.append(
            Box(
                int(xs[0]) * width / columns,
                int(ys[0]) * height / rows,
                (int(xs[-1]) + 1) * width / columns,
                (int(ys[-1]) + 1) * height / rows,
            )
        )
    return boxes * (count if len(boxes) == 1 else 1)


def choose(faces: Sequence[Sequence[Box]], face_index: int) -> list[Box]:
    """One face of every picture; 0 is the largest.

    Raises:
        FantasyTalkingError: a picture has fewer faces.
    """
    for number, found in enumerate(faces, 1):
        if not 0 <= face_index < len(found):
            count, last = ("1 face was", 0) if len(found) == 1 else (f"{len(found)} faces were", len(found) - 1)
            raise FantasyTalkingError(
                f"face_index is {face_index}, but {count} found in {_picture(number, len(faces))}: expected 0"
                f"{f' to {last}' if last else ''}, counted from the largest face."
            )
    return [found[face_index] for found in faces]


def _picture(number: int, count: int) -> str:
    return "the picture" if count == 1 else f"picture {number} of {count}"


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


def preview(picture: torch.Tensor, faces: Sequence[Box], face_index: int, crop: Crop) -> torch.Tensor:
    """The picture `[H, W, 3]` with every face's box and index, and the square that is cut out."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray((picture.detach().cpu() * 255).round().byte().numpy())
    draw, short = ImageDraw.Draw(image), min(image.size)
    line, font = max(1, round(short / 200)), ImageFont.load_default(max(10, round(short / 24)))

    def outline(left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int], width: int) -> None:
        # What lies outside is drawn along the edge, so that it is seen where the picture ends.
        corners = max(0, left), max(0, top), min(image.width, right) - 1, min(image.height, bottom) - 1
        if corners[0] <= corners[2] and corners[1] <= corners[3]:
            draw.rectangle(corners, outline=colour, width=width)

    outline(crop.left, crop.top, crop.left + crop.side, crop.top + crop.side, CHOSEN, 2 * line)
    for index in sorted(range(len(faces)), key=lambda index: index == face_index):  # the chosen one on top
        face, colour = faces[index], CHOSEN if index == face_index else OTHER
        outline(face.left, face.top, face.right, face.bottom, colour, line)
        left, top, right, bottom = draw.textbbox((0, 0), str(index), font=font)
        width, height = right - left + 4 * line, bottom - top + 4 * line
        x = min(max(0, face.left), image.width - width)
        y = min(max(0, face.top - height), image.height - height)
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
        draw.text((x + 2 * line - left, y + 2 * line - top), str(index), fill=(0, 0, 0), font=font)
    return torch.from_numpy(np.array(image)).to(picture.device, torch.float32) / 255
