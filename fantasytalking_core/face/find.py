"""The faces in pictures: by landmarks, by a mask, by the host's detector, or by the built-in cascade."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import FantasyTalkingError, short
from ..pictures import MIN_PICTURE_SIDE, is_plain, kind, which
from . import alignment
from .detector import Box, FaceDetector
from .landmarks import DETECTOR, Face, FaceLandmarks, face_landmarks, landmarks_of

LANDMARKS, MASK, HOST, CASCADE, MIDDLE = "face_landmarks", "mask", "MediaPipe", "the built-in cascade", "the picture's middle"
"""By what a face was found."""
MIN_FACE = 8
"""Pixels; where a face is smaller, the landmarks are in other units or the mask is a dot."""
MAX_OUTSIDE = 0.1
"""The part of an aligned face that may lie outside of its picture without a word. Drawn faces of which 0.03 is missing have a
cosine of 1.00 with the whole ones, those of which 0.12 is missing one of 0.97."""


@dataclass(frozen=True)
class Landmarker:
    """The host's face landmark detector, or why there is none.

    Attributes:
        detect: pictures `[B, H, W, 3]` to the host's FACE_LANDMARKS of all faces in them.
        missing: what is missing, and what to do.
    """

    detect: Callable[[torch.Tensor], Mapping[str, Any]] | None = None
    missing: str = ""


@dataclass(frozen=True)
class Found:
    """The faces of one picture.

    Attributes:
        boxes: number 0 first: the largest of those that the detector is sure of.
        by: LANDMARKS, MASK, HOST or CASCADE.
        connections: as of `FaceLandmarks`.
    """

    boxes: tuple[Box, ...]
    by: str
    connections: Mapping[str, Any] = field(default_factory=dict)


def find_faces(
    pictures: torch.Tensor,
    mask: Any = None,
    landmarks: Any = None,
    landmarker: Callable[[], Landmarker] = Landmarker,
    done: Callable[[int], Any] = lambda count: None,
    by_hand: str = "",
) -> tuple[list[Found], list[str]]:
    """The faces of every picture, and what should be known of how they were found.

    Args:
        pictures: `[B, H, W, 3]` in [0, 1].
        mask: a host's MASK, `[B or 1, h, w]`; what is above 0.5 is the face.
        landmarks: a host's FACE_LANDMARKS; go before the mask.
        landmarker: gives the host's detector, where neither is given.
        done: called with the number of pictures that were looked at.
        by_hand: what else to do where no face is found, of who has no input for a mask.

    Raises:
        FantasyTalkingError: a picture too small or without a face, an empty mask, landmarks or a mask of others.
    """
    height, width = pictures.shape[1:3]
    if min(height, width) < MIN_PICTURE_SIDE:
        raise FantasyTalkingError(
            f"image is {width}×{height} pixels, expected {MIN_PICTURE_SIDE} or more on both sides: load a larger picture."
        )
    if landmarks is not None:
        found = _of_landmarks(landmarks_of(landmarks, pictures), LANDMARKS)
        _refuse_none(found, f"lower min_confidence of {DETECTOR}, or {by_hand or 'wire a mask instead of face_landmarks'}.")
        return found, []
    if mask is not None:
        return [Found((box,), MASK) for box in _mask_boxes(mask, pictures)], []
    host = landmarker()
    found = [Found((), CASCADE)] * len(pictures)
    if host.detect is not None:
        found = _of_landmarks(face_landmarks(host.detect(pictures)), HOST)
    cascade = None if all(one.boxes for one in found) else FaceDetector()
    for index, picture in enumerate(pictures):
        if cascade is not None and not found[index].boxes:
            found[index] = Found(tuple(cascade(picture)), CASCADE)
        done(1)
    todo = f"wire face_landmarks from {DETECTOR}, or {by_hand or 'a mask painted over the face'}."
    _refuse_none(found, f"{todo} {host.missing}".strip())
    less_sure = [number for number, one in enumerate(found, 1) if one.by == CASCADE]
    if not less_sure:
        return found, []
    if host.detect is None:
        return found, [f"{host.missing} Without it the built-in cascade looks for faces, which misses one in five."]
    return found, [f"MediaPipe found no face in {which(less_sure, len(found))}, the built-in cascade did: look at the preview."]


def _of_landmarks(landmarks: FaceLandmarks, by: str) -> list[Found]:
    frames = landmarks.frames
    return [Found(tuple(Box(*face.box, face) for face in faces), by, landmarks.connections) for faces in frames]


def _refuse_none(found: Sequence[Found], todo: str) -> None:
    for number, one in enumerate(found, 1):
        if not one.boxes:
            raise FantasyTalkingError(f"No face was found in {which([number], len(found))}: {todo}")


def _mask_boxes(mask: Any, pictures: torch.Tensor) -> list[Box]:
    count, height, width, _ = pictures.shape
    if not is_plain(mask) or mask.ndim not in (2, 3) or 0 in mask.shape:
        raise FantasyTalkingError(f"mask is {kind(mask)}, expected a MASK [batch, height, width]: wire a MASK output.")
    masks = mask.detach()[None] if mask.ndim == 2 else mask.detach()
    if not torch.isfinite(masks).all():
        raise FantasyTalkingError("mask has values that are not finite, expected 0 to 1: make the mask anew.")
    masks = masks > 0.5
    rows, columns = masks.shape[1:]
    for number, one in enumerate(masks, 1):
        if not one.any():
            raise FantasyTalkingError(
                f"The mask of {which([number], len(masks))} is empty, expected values above 0.5 on the face: paint over the "
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


def choose(found: Sequence[Found], face_index: int) -> list[Box]:
    """One face of every picture.

    Raises:
        FantasyTalkingError: a picture has fewer faces, or the face is a dot.
    """
    for number, one in enumerate(found, 1):
        picture = which([number], len(found))
        if not isinstance(face_index, int) or not 0 <= face_index < len(one.boxes):
            count, last = ("1 face was", 0) if len(one.boxes) == 1 else (f"{len(one.boxes)} faces were", len(one.boxes) - 1)
            raise FantasyTalkingError(
                f"face_index is {short(face_index)}, but {count} found in {picture}: expected 0"
                f"{f' to {last}' if last else ''}, counted from the largest face."
            )
        size = one.boxes[face_index].size
        if size < MIN_FACE:
            raise FantasyTalkingError(
                f"The face in {picture} is {size:.1f} pixels large, expected {MIN_FACE} or more: give landmarks in pixels, "
                "paint over the whole face, or use a larger picture."
            )
    return [one.boxes[face_index] for one in found]


def five_points(
    pictures: torch.Tensor,
    landmarks: FaceLandmarks | None = None,
    landmarker: Callable[[], Landmarker] = Landmarker,
    done: Callable[[int], Any] = lambda count: None,
) -> tuple[list[torch.Tensor | None], list[str], list[str]]:
    """Eyes, nose and mouth corners in pictures `[B, H, W, 3]` of one face each, in the best way for each of them.

    Returns:
        Per picture `[5, 2]`, or None where no face was found; by what they were found; and what should be known of it.

    Raises:
        FantasyTalkingError: the pictures are too small.
    """
    alignment.check_size(pictures)
    height, width = pictures.shape[1:3]
    by = [MIDDLE] * len(pictures)
    points: list[torch.Tensor | None] = [None] * len(pictures)

    def place(index: int, kind: str, five: torch.Tensor) -> None:
        by[index], points[index] = kind, five

    for index, faces in enumerate(() if landmarks is None else landmarks.frames):
        if faces:
            place(index, LANDMARKS, faces[0].five_points())
    host, left = Landmarker(), _without(points)
    if left:
        host = landmarker()
    if left and host.detect is not None:
        for index, faces in zip(left, face_landmarks(host.detect(pictures[left])).frames, strict=True):
            real = [face for face in faces if alignment.is_face(face.five_points())]
            if real:
                place(index, HOST, _in_the_middle(real, width / 2, height / 2).five_points())
    left = _without(points)
    done(len(pictures) - len(left))
    cascade = FaceDetector() if left else None
    for index in left:
        assert cascade is not None
        box = cascade.expected(pictures[index])
        if box is not None:
            place(index, CASCADE, alignment.points_in(box))
        done(1)
    return points, by, [*_notices(by, host), *_cut_off(pictures, points)]


def _without(points: Sequence[torch.Tensor | None]) -> list[int]:
    return [index for index, five in enumerate(points) if five is None]


def _in_the_middle(faces: Sequence[Face], x: float, y: float) -> Face:
    """The face that a picture was cut to, whoever else is in it; else number 0."""
    return next((face for face in faces if Box(*face.box).holds(x, y)), faces[0])


def _notices(by: Sequence[str], host: Landmarker) -> list[str]:
    """What makes an identity less exact than in training."""
    rough, none = ([number for number, one in enumerate(by, 1) if one == kind] for kind in (CASCADE, MIDDLE))
    todo = host.missing or f"Wire face_landmarks from Crop Face or {DETECTOR}."
    notices = []
    if rough:
        notices.append(
            f"The face in {which(rough, len(by))} is placed by the built-in cascade: strangers may look alike. {todo}"
        )
    if none:
        notices.append(
            f"No face was found in {which(none, len(by))}, the middle is taken as it is: strangers will look alike. {todo}"
        )
    return notices


def _cut_off(pictures: torch.Tensor, points: Sequence[torch.Tensor | None]) -> list[str]:
    shares = [0.0 if five is None else alignment.outside(picture, five) for picture, five in zip(pictures, points, strict=True)]
    cut = [number for number, share in enumerate(shares, 1) if share > MAX_OUTSIDE]
    if not cut:
        return []
    return [
        f"{max(shares):.0%} of what the face encoder looks at lies outside of {which(cut, len(shares))}: raise padding of Crop "
        "Face to 0.3, or use a picture with more room around the face."
    ]


def described(by: Sequence[str]) -> str:
    """How faces were found, in a line."""
    counts = Counter(by)
    return ", ".join(f"{count} by {one}" for one, count in counts.items()) if len(counts) > 1 else f"by {by[0]}"
