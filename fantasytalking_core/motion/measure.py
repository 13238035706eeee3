"""How much face and body move in a clip: variances of landmarks and joints (§3.4).

The paper takes the variance of the face-landmark sequence and of the body-joint sequence. Both are measured here free
of what is no such motion: the face after the head's own translation, rotation and scale are removed, the body in
shoulder widths.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange

from ..errors import FantasyTalkingError
from ..face.landmarks import EYE_CORNERS, RIGID, FaceLandmarks

JOINTS = 18
"""Joints of a body in the OpenPose format."""
RIGHT_SHOULDER, LEFT_SHOULDER = 2, 5
MIN_SCORE = 0.3
"""Joints that the detector is less sure of are not counted."""
MIN_FRAMES = 2
ALIGNMENTS = 3
"""Times that the mean face is aligned to anew; it no longer moves after two."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A variance and the curve that it comes from.

    Attributes:
        variance: mean over the points of the variance of x plus that of y.
        curve: `[F]`, per frame the root mean square distance of the points to their mean places; NaN where the frame
            does not count. Its mean square is the variance, where all points count in all frames.
    """

    variance: float
    curve: torch.Tensor


def expression(landmarks: FaceLandmarks) -> Measured:
    """Motion of the face's points within the head, in squared distances between the eyes.

    Every frame's largest face is turned, moved and scaled onto the clip's mean face by points that no expression moves
    (eye corners and the bridge of the nose), in three dimensions where the landmarks have depth.

    Raises:
        FantasyTalkingError: fewer than two frames show a face.
    """
    frames = [index for index, faces in enumerate(landmarks.frames) if faces]
    if len(frames) < MIN_FRAMES:
        raise too_few("a face", len(frames), len(landmarks.frames))
    faces = torch.stack([landmarks.frames[index][0].points3d() for index in frames]).double()
    reference = faces[0]
    for _ in range(ALIGNMENTS):
        aligned = aligned_by(faces, reference, RIGID)
        reference = aligned.mean(0)
    right, left = (reference[list(corners), :2].mean(0) for corners in EYE_CORNERS)
    points = aligned[..., :2] / (left - right).norm()
    return _measured(points, torch.ones(points.shape[:2], dtype=torch.bool), frames, len(landmarks.frames))


def aligned_by(faces: torch.Tensor, reference: torch.Tensor, points: Sequence[int]) -> torch.Tensor:
    """Faces `[F, N, 3]` turned, moved and scaled so that `points` of them come closest to those of `reference`
    `[N, 3]`, in the least squares (Umeyama 1991)."""
    points = list(points)
    source, target = faces[:, points], reference[points]
    middle, aim = source.mean(1, keepdim=True), target.mean(0)
    source, target = source - middle, target - aim
    u, s, vt = torch.linalg.svd(torch.einsum("fnx,ny->fxy", source, target))
    sign = torch.ones_like(s)
    sign[:, -1] = torch.det(u @ vt).sign()  # a turn, no mirror
    scale = (s * sign).sum(-1) / source.square().sum((1, 2))
    turn = torch.einsum("fxk,fk,fky->fxy", u, sign, vt)
    return scale[:, None, None] * (faces - middle) @ turn + aim


def body(pose: Any, frames: int) -> Measured:
    """Motion of the body's joints, in squared shoulder widths.

    A joint counts in the frames in which it was seen, if these are at least half of the frames with both shoulders.

    Args:
        pose: the host's POSE_KEYPOINT, one dict per frame in the OpenPose format.
        frames: that the clip has.

    Raises:
        FantasyTalkingError: no POSE_KEYPOINT, one of another clip, or fewer than two frames with both shoulders.
    """
    people = [_largest(_people(frame)) for frame in _frames(pose, frames)]
    found = {index: person for index, person in enumerate(people) if person is not None}
    if len(found) < MIN_FRAMES:
        raise too_few("both shoulders of a person", len(found), frames)
    joints = torch.stack(list(found.values()))
    seen = joints[..., 2] >= MIN_SCORE
    widths = (joints[:, RIGHT_SHOULDER, :2] - joints[:, LEFT_SHOULDER, :2]).norm(dim=-1)
    points = joints[..., :2] / widths.median()
    counted = seen & (seen.float().mean(0) >= 0.5)
    return _measured(points, counted, list(found), frames)


def _frames(pose: Any, frames: int) -> list:
    pose = [pose] if isinstance(pose, Mapping) else pose
    if not isinstance(pose, Sequence) or isinstance(pose, str) or not all(isinstance(f, Mapping) for f in pose):
        raise no_pose(type(pose).__name__)
    if len(pose) != frames:
        raise FantasyTalkingError(
            f"pose_keypoints are of {len(pose)} frames, images has {frames}: wire the same clip into both."
        )
    return list(pose)


def _people(frame: Mapping) -> list[torch.Tensor]:
    """The people in a frame, `[18, 3]` each: x, y, score."""
    try:
        people = [torch.tensor(person["pose_keypoints_2d"], dtype=torch.float64)[: 3 * JOINTS] for person in frame["people"]]
        people = [rearrange(person, "(joint three) -> joint three", joint=JOINTS) for person in people if len(person)]
    except Exception as error:  # whatever is wrong in another pack's dict
        raise no_pose("one with other contents") from error
    if any(not torch.isfinite(person).all() for person in people):
        raise FantasyTalkingError("pose_keypoints are not finite: detect the pose again.")
    size = torch.tensor([frame.get("canvas_width") or 1, frame.get("canvas_height") or 1, 1], dtype=torch.float64)
    # some packs give parts of the canvas, the host gives pixels
    return [person * size if person[:, :2].amax() <= 1 else person for person in people]


def _largest(people: list[torch.Tensor]) -> torch.Tensor | None:
    """The person with the widest shoulders of those who show both."""

    def width(person: torch.Tensor) -> float:
        if (person[[RIGHT_SHOULDER, LEFT_SHOULDER], 2] < MIN_SCORE).any():
            return 0.0
        return float((person[RIGHT_SHOULDER, :2] - person[LEFT_SHOULDER, :2]).norm())

    person = max(people, key=width, default=None)
    return None if person is None or width(person) == 0 else person


def _measured(points: torch.Tensor, counted: torch.Tensor, indices: list[int], frames: int) -> Measured:
    """Of points `[F, N, 2]`, of which `counted` `[F, N]` are known, in the frames `indices` of `frames`."""
    points = points - points[:1]  # so that what is still has exactly none
    weight = counted[..., None].to(points)
    times = weight.sum(0).clamp(min=1)
    mean = (points * weight).sum(0) / times
    squares = ((points - mean) * weight).square()
    per_point = (squares.sum(0) / times).sum(-1)[counted.any(0)]
    curve = torch.full((frames,), math.nan, dtype=torch.float64)
    curve[indices] = (squares.sum((1, 2)) / counted.sum(1).clamp(min=1)).sqrt()
    return Measured(float(per_point.mean()), curve)


def no_pose(found: str) -> FantasyTalkingError:
    return FantasyTalkingError(
        f"pose_keypoints is {found}, expected POSE_KEYPOINT with one entry per frame: wire SDPose Keypoint Extractor."
    )


def too_few(what: str, found: int, frames: int) -> FantasyTalkingError:
    return FantasyTalkingError(
        f"{found} of {frames} frames show {what}, motion needs at least {MIN_FRAMES}: use a longer clip in which "
        f"{what} can be seen."
    )
