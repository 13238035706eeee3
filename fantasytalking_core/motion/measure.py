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

from ..errors import FantasyTalkingError, short
from ..face.landmarks import CONFIDENT, DETECTOR, EYE_CORNERS, MAX_SIDE, POINTS, RIGID, Face, FaceLandmarks
from .follow import Place, follow

JOINTS = 18
"""Joints of a body in the OpenPose format."""
RIGHT_SHOULDER, LEFT_SHOULDER = 2, 5
MIN_SCORE = 0.3
"""Joints that the detector is less sure of are not counted."""
MIN_WIDTH = 0.02
"""Of the body's extent, that shoulders must be apart: it is measured in their widths."""
MIN_SPREAD = 0.5
"""Pixels, standard deviation of the face's rigid points."""
MIN_FRAMES = 2
OUTLINE = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""The oval of the face among MediaPipe's points. They lie where the face ends in the picture, and so slide over the skin when
the head turns: as much as all other points together, and no expression."""
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


def one_face(landmarks: FaceLandmarks) -> dict[int, Face]:
    """The face of the one whom a clip is of, by the frames that show it."""
    found = follow([[_place(face) for face in faces] for faces in landmarks.frames])
    pairs = zip(landmarks.frames, found, strict=True)
    return {number: faces[index] for number, (faces, index) in enumerate(pairs) if index is not None}


def _place(face: Face) -> Place:
    left, top, right, bottom = face.box
    return Place((left + right) / 2, (top + bottom) / 2, face.size, face.score >= CONFIDENT)


def is_flat(landmarks: FaceLandmarks) -> bool:
    """Whether the landmarks are without depth, so that turns of the head look like expression."""
    return not any(face.depth.any() for faces in landmarks.frames for face in faces)


def expression(landmarks: FaceLandmarks, with_outline: bool = False) -> Measured:
    """Motion of the face's points within the head, in squared distances between the eyes.

    The face of one person is turned, moved and scaled onto the clip's mean face by points that no expression moves (eye
    corners and the bridge of the nose), in three dimensions where the landmarks have depth.

    Args:
        with_outline: count OUTLINE as well.

    Raises:
        FantasyTalkingError: fewer than two frames show a face, or it lies on one spot.
    """
    person = one_face(landmarks)
    frames = list(person)
    if len(frames) < MIN_FRAMES:
        raise too_few("a face", len(frames), len(landmarks.frames))
    faces = torch.stack([face.points3d() for face in person.values()]).double()
    for frame, face in zip(frames, faces, strict=True):
        if face[list(RIGID), :2].std(0).norm() < MIN_SPREAD:
            raise FantasyTalkingError(
                f"The face in frame {frame + 1} of {len(landmarks.frames)} lies on one spot, expected landmarks in pixels: "
                f"wire {DETECTOR}, or use a larger picture."
            )
    reference = faces[0]
    for _ in range(ALIGNMENTS):
        aligned = aligned_by(faces, reference, RIGID)
        reference = aligned.mean(0)
    right, left = (reference[list(corners), :2].mean(0) for corners in EYE_CORNERS)
    inner = [point for point in range(POINTS) if with_outline or point not in OUTLINE]
    points = aligned[:, inner, :2] / (left - right).norm()
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


def body(pose: Any, frames: int) -> Measured | None:
    """Motion of one person's joints, in squared shoulder widths; None where fewer than two frames show both shoulders.

    A joint counts in the frames in which it was seen, if these are at least half of the frames with both shoulders.

    Args:
        pose: the host's POSE_KEYPOINT, one dict per frame in the OpenPose format.
        frames: that the clip has.

    Raises:
        FantasyTalkingError: no POSE_KEYPOINT, or one of another clip.
    """
    people = [[person for person in _people(frame) if _shoulders(person)] for frame in _frames(pose, frames)]
    one = follow([[_middle(person) for person in each] for each in people])
    found = {number: each[index] for number, (each, index) in enumerate(zip(people, one, strict=True)) if index is not None}
    if len(found) < MIN_FRAMES:
        return None
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
        people = [torch.tensor(person["pose_keypoints_2d"][: 3 * JOINTS], dtype=torch.float64) for person in frame["people"]]
        people = [rearrange(person, "(joint three) -> joint three", joint=JOINTS) for person in people if len(person)]
    except Exception as error:  # whatever is wrong in another pack's dict
        raise no_pose("one with other contents") from error
    if any(not (person.abs() <= MAX_SIDE).all() for person in people):  # as NaN is not
        raise FantasyTalkingError(
            "pose_keypoints are not finite or far outside, expected pixels: run the pose detection again."
        )
    # some packs give parts of the canvas, the host gives pixels
    return [person * _canvas(frame) if person[:, :2].amax() <= 1 else person for person in people]


def _canvas(frame: Mapping) -> torch.Tensor:
    """`[3]`: what to multiply x, y and score by; 1 where the size is not told."""
    sides = [frame.get("canvas_width"), frame.get("canvas_height")]
    try:
        width, height = (1.0 if side is None else float(side) or 1.0 for side in sides)
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise no_pose(f"of a canvas of {short(sides)}") from error
    return torch.tensor([width, height, 1], dtype=torch.float64)


def _shoulders(person: torch.Tensor) -> float:
    """How far they are apart, in pixels; 0 where one is not seen, or before the other as from the side."""
    right, left = person[RIGHT_SHOULDER], person[LEFT_SHOULDER]
    if min(right[2], left[2]) < MIN_SCORE:
        return 0.0
    seen = person[person[:, 2] >= MIN_SCORE, :2]
    width = float((right - left)[:2].norm())
    return width if width >= MIN_WIDTH * float((seen.amax(0) - seen.amin(0)).norm()) else 0.0


def _middle(person: torch.Tensor) -> Place:
    x, y, _ = ((person[RIGHT_SHOULDER] + person[LEFT_SHOULDER]) / 2).tolist()
    return Place(x, y, _shoulders(person))


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
