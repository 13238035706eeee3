"""Face landmarks in and out: the host's FACE_LANDMARKS (478 points of MediaPipe's face mesh per face)."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
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
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""The outer contour of the lips: from the corner of the mouth on the left of the picture along the lower lip to the other
corner, and back along the upper lip."""
RIGID = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4)
"""Eye corners and the bridge of the nose: what no expression moves within the head."""
CONFIDENT = 0.65
"""Score of the host's detector from which on a face goes before larger ones that are less sure. On 66 photographs and 24
drawings faces got 0.83 to 0.99 from MediaPipe's detector for near faces, 0.67 to 0.98 from that for far ones; a colour wheel
got 0.58."""
DETECTOR = "Detect Face Landmarks (MediaPipe)"
MAX_SIDE = 2**20
"""Pixels; no picture is larger."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one picture.

    Attributes:
        points: `[478, 2]` float32, x and y in pixels.
        depth: `[478]` float32, in pixels, too; zero where the detector gives none.
        score: how sure the detector is, 0 to 1.
        given: what the host says of the face.
    """

    points: torch.Tensor
    depth: torch.Tensor
    score: float = 1.0
    given: Mapping[str, Any] = field(default_factory=dict)

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

    def cut_out(self, left: int, top: int, scale: float) -> "Face":
        """The face in a part of its picture that begins at `left`, `top` and was then scaled; a pixel's centre is (0, 0).

        Without the host's `transformation_matrix`, which is that of a camera that sees the whole picture.
        """
        points = (self.points - torch.tensor([left, top]) + 0.5) * scale - 0.5
        given = {key: value for key, value in self.given.items() if key != "transformation_matrix"}
        return Face(points, self.depth * scale, self.score, given)

    def to_host(self) -> dict[str, Any]:
        """The face as in the host's FACE_LANDMARKS."""
        box = torch.tensor(self.box, dtype=torch.float32)
        return {"score": self.score, **self.given, "landmarks_xy": self.points.numpy(), "bbox_xyxy": box.numpy()}


@dataclass(frozen=True, eq=False)
class FaceLandmarks:
    """The faces of a clip or batch.

    Attributes:
        frames: per picture its faces, from the largest of those that the detector is sure of.
        height, width: of the pictures, in pixels.
        connections: by their names, pairs of points that the host's nodes draw lines between.
    """

    frames: tuple[tuple[Face, ...], ...]
    height: int
    width: int
    connections: Mapping[str, Any] = field(default_factory=lambda: defaultdict(frozenset))

    def to_host(self) -> dict[str, Any]:
        """The host's FACE_LANDMARKS."""
        frames = [[face.to_host() for face in faces] for faces in self.frames]
        return {"frames": frames, "image_size": (self.height, self.width), "connection_sets": self.connections}


def face_landmarks(value: Any) -> FaceLandmarks:
    """The landmarks in a host's FACE_LANDMARKS, `{"frames": [[face, …], …], "image_size": (H, W)}`.

    Raises:
        FantasyTalkingError: no FACE_LANDMARKS, another number of points, or points that are not finite or not in the picture.
    """
    try:
        height, width = (int(side) for side in value["image_size"])
        if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
            raise ValueError
        frames = tuple(tuple(_face(face, height, width) for face in frame) for frame in value["frames"])
        connections = value.get("connection_sets")
    except FantasyTalkingError:
        raise
    except Exception as error:  # whatever is wrong in another pack's value
        kind = f"a {type(value).__name__[:80]}" if not isinstance(value, Mapping) else "one with other contents"
        raise FantasyTalkingError(f"face_landmarks is {kind}, expected the host's FACE_LANDMARKS: wire {DETECTOR}.") from error
    frames = tuple(tuple(sorted(faces, key=lambda face: (not face.score >= CONFIDENT, -face.size))) for faces in frames)
    known = [connections] if isinstance(connections, Mapping) and connections else []
    return FaceLandmarks(frames, height, width, *known)


def _face(face: Any, height: int, width: int) -> Face:
    points = torch.as_tensor(face["landmarks_xy"], dtype=torch.float32).detach().cpu()
    if points.shape != (POINTS, 2):
        raise FantasyTalkingError(
            f"A face has landmarks of shape {list(points.shape)}, expected [{POINTS}, 2]: wire {DETECTOR}."
        )
    if not torch.isfinite(points).all():
        raise FantasyTalkingError(
            f"A face has landmarks that are not finite: run {DETECTOR} again with a higher min_confidence."
        )
    score = face.get("score")
    found = Face(points, _depth(face.get("landmarks_3d"), points), 1.0 if score is None else float(score), dict(face))
    left, top, right, bottom = found.box
    far = max(height, width)  # a face that is cut off by the picture's edge goes on outside, but not for long
    is_outside = right < 0 or bottom < 0 or left > width or top > height
    if is_outside or min(left, top) < -far or right > width + far or bottom > height + far:
        raise FantasyTalkingError(
            f"A face has landmarks from ({left:.4g}, {top:.4g}) to ({right:.4g}, {bottom:.4g}), expected them in their picture "
            f"of {width}×{height}: wire the same pictures into {DETECTOR}, and raise its min_confidence."
        )
    return found


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
