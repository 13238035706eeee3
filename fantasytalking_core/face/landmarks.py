"""Face landmarks in: the host's FACE_LANDMARKS (478 points of MediaPipe's face mesh per face)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import FantasyTalkingError

POINTS = 478
"""Points of MediaPipe's face mesh with irises."""
EYE_CORNERS = ((33, 133), (263, 362))
"""Outer and inner corner of the eye on the left of the picture (the person's right), then of the other."""
NOSE_TIP = 1
MOUTH_CORNERS = (61, 291)
"""Corners of the mouth, the one on the left of the picture first."""
RIGID = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4)
"""Eye corners and the bridge of the nose: what no expression moves within the head."""
DETECTOR = "Detect Face Landmarks (MediaPipe)"


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one picture.

    Attributes:
        points: `[478, 2]` float32, x and y in pixels.
        depth: `[478]` float32, in pixels, too; zero where the detector gives none.
    """

    points: torch.Tensor
    depth: torch.Tensor

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels."""
        return (*self.points.amin(0).tolist(), *self.points.amax(0).tolist())

    @property
    def size(self) -> float:
        """The longer side of the box in pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    def points3d(self) -> torch.Tensor:
        """`[478, 3]`: x, y and depth in pixels."""
        return torch.cat([self.points, self.depth[:, None]], dim=1)

    def five_points(self) -> torch.Tensor:
        """`[5, 2]`: both eyes, nose tip, both mouth corners, the left of the picture first (ArcFace's order)."""
        eyes = [self.points[list(corners)].mean(0) for corners in EYE_CORNERS]
        return torch.stack([*eyes, self.points[NOSE_TIP], *self.points[list(MOUTH_CORNERS)]])


@dataclass(frozen=True, eq=False)
class FaceLandmarks:
    """The faces of a clip or batch.

    Attributes:
        frames: per picture its faces, from the largest.
        height, width: of the pictures, in pixels.
    """

    frames: tuple[tuple[Face, ...], ...]
    height: int
    width: int


def face_landmarks(value: Any) -> FaceLandmarks:
    """The landmarks in a host's FACE_LANDMARKS, `{"frames": [[face, …], …], "image_size": (H, W)}`.

    Raises:
        FantasyTalkingError: no FACE_LANDMARKS, another number of points, or points that are not finite.
    """
    try:
        height, width = (int(side) for side in value["image_size"])
        frames = tuple(tuple(_face(face) for face in frame) for frame in value["frames"])
    except FantasyTalkingError:
        raise
    except (TypeError, KeyError, ValueError, IndexError) as error:
        kind = f"a {type(value).__name__}" if not isinstance(value, Mapping) else "one with other contents"
        raise FantasyTalkingError(f"face_landmarks is {kind}, expected the host's FACE_LANDMARKS: wire {DETECTOR}.") from error
    return FaceLandmarks(tuple(tuple(sorted(f, key=lambda face: -face.size)) for f in frames), height, width)


def _face(face: Any) -> Face:
    points = torch.as_tensor(face["landmarks_xy"], dtype=torch.float32).cpu()
    if points.shape != (POINTS, 2):
        raise FantasyTalkingError(
            f"A face has landmarks of shape {list(points.shape)}, expected [{POINTS}, 2]: wire {DETECTOR}."
        )
    if not torch.isfinite(points).all():
        raise FantasyTalkingError(
            f"A face has landmarks that are not finite: run {DETECTOR} again with a higher min_confidence."
        )
    return Face(points, _depth(face.get("landmarks_3d"), points))


def _depth(landmarks_3d: Any, points: torch.Tensor) -> torch.Tensor:
    """The third coordinate of the host's `landmarks_3d`, which are in units of a crop of the face, in pixels."""
    crop = torch.zeros(0) if landmarks_3d is None else torch.as_tensor(landmarks_3d, dtype=torch.float32).cpu()
    if crop.shape != (POINTS, 3):
        return torch.zeros(POINTS)
    spread, spread_in_crop = (_spread(p[list(RIGID)]) for p in (points, crop[:, :2]))
    depth = crop[:, 2] * (spread / spread_in_crop)
    return depth if torch.isfinite(depth).all() else torch.zeros(POINTS)


def _spread(points: torch.Tensor) -> torch.Tensor:
    return (points - points.mean(0)).norm()


def landmarks_of(value: Any, pictures: torch.Tensor, what: str = "image") -> FaceLandmarks:
    """`face_landmarks`, checked to be those of these pictures `[B, H, W, 3]`.

    Raises:
        FantasyTalkingError: they are of another number or size of pictures.
    """
    landmarks = face_landmarks(value)
    count, height, width, _ = pictures.shape
    if (len(landmarks.frames), landmarks.height, landmarks.width) != (count, height, width):
        raise FantasyTalkingError(
            f"face_landmarks are of {len(landmarks.frames)} pictures of {landmarks.width}×{landmarks.height}, {what} has "
            f"{count} of {width}×{height}: wire the same pictures into {DETECTOR} and into {what}."
        )
    return landmarks
