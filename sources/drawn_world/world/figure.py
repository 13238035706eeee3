"""A person's shape in one moment: where everything of head and shoulders is, and what landmark and body detectors would find.

A head is an ellipsoid that is turned, then drawn without perspective. Its points are `[…, 2]`, in its half sizes when it
looks straight ahead; their depths follow from the ellipsoid.
"""

from dataclasses import dataclass

import numpy as np

from fantasytalking_core.face.landmarks import POINTS
from fantasytalking_core.motion.measure import JOINTS
from fantasytalking_core.training.data.lip_mask import OUTER_LIPS

from .. import SIZE
from .look import Look

HEAD = (0.5, 0.46)
"""The middle of a head at rest."""
NECK = (0.5, 0.84)
"""What it tilts about."""
CHEST = 0.95
"""Height of the shoulders."""
MOUTH_AT = 0.52
"""The mouth's height in the face, in half heights of the head below its middle; the eyes are at -0.12."""
EYES_AT = -0.12
GAP = 0.34
"""Half the height of a wide open mouth, in half widths of the head."""
LIP = 0.085
"""Thickness of the lips, in half heights of the head."""
TIP = 0.25
"""How far a nose's tip stands out, in half widths of the head."""
EARS_BACK = -0.3
BROWS = ((70, 63, 105, 66, 107), (336, 296, 334, 293, 300))
NOSE = (168, 6, 197, 195, 5, 4, 1)


@dataclass(frozen=True)
class Pose:
    """One moment.

    Attributes:
        mouth_open: 0 closed to 1 wide open.
        mouth_wide: -1 round (as in "oo") to 1 wide (as in "ee").
        blink: 0 open to 1 closed.
        brows: -1 to 1, up.
        head: x and y that it is shifted by, in parts of the picture.
        tilt: of the head, in radians.
        turn: of the head to its left (the picture's right), in radians.
        nod: of the head, down, in radians.
        body: x and y that the shoulders are shifted by.
        wall: x that the background is shifted by.
    """

    mouth_open: float = 0.0
    mouth_wide: float = 0.0
    blink: float = 0.0
    brows: float = 0.0
    head: tuple[float, float] = (0.0, 0.0)
    tilt: float = 0.0
    turn: float = 0.0
    nod: float = 0.0
    body: tuple[float, float] = (0.0, 0.0)
    wall: float = 0.0


def in_space(look: Look, pose: Pose, points: np.ndarray, out: np.ndarray | float = 0.0) -> np.ndarray:
    """Points of the head in the picture: x, y, and depth towards the viewer, in parts of the picture `[…, 3]`.

    Args:
        out: how far they stand out of the ellipsoid, in half widths of the head.
    """
    points = np.asarray(points, float)
    depth = np.sqrt(np.clip(1 - (points**2).sum(-1), 0, None)) + out
    x, y, z = points[..., 0] * look.width, points[..., 1] * look.height, depth * look.width
    x, z = x * np.cos(pose.turn) + z * np.sin(pose.turn), z * np.cos(pose.turn) - x * np.sin(pose.turn)
    y, z = y * np.cos(pose.nod) + z * np.sin(pose.nod), z * np.cos(pose.nod) - y * np.sin(pose.nod)
    flat = np.stack([x, y], -1) + HEAD - np.asarray(NECK)
    cos, sin = np.cos(pose.tilt), np.sin(pose.tilt)
    return np.concatenate([flat @ np.array(((cos, sin), (-sin, cos))) + NECK + pose.head, z[..., None]], -1)


def outline(look: Look, pose: Pose, wider: float = 1.0, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """The head's; the chin goes down with the mouth."""
    angle = np.linspace(0, 2 * np.pi, 73)
    x, y = np.cos(angle), np.sin(angle)
    below = np.clip(y, 0, 1)
    points = np.stack([x * (1 - look.jaw * below**2) * wider, y * wider + 0.12 * pose.mouth_open * below**2], 1)
    return points[(points[:, 1] >= low) & (points[:, 1] <= high)]


def mouth_outlines(look: Look, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """The lips' outer outline, 20 points in the order of `lip_mask.OUTER_LIPS`, and the gap's."""
    half = look.mouth * (1 + 0.28 * pose.mouth_wide)
    gap = GAP * pose.mouth_open * look.width / look.height
    angle = np.pi - np.arange(20) * 2 * np.pi / 20
    x, y = np.cos(angle), np.sin(angle)
    middle = MOUTH_AT + 0.5 * gap
    outer = np.stack([half * x, middle + (gap + LIP) * y], 1)
    inner = np.stack([0.9 * half * x, middle + gap * y], 1)
    return outer, inner


_RANDOM = np.random.default_rng(10)
_ANGLE, _RADIUS = _RANDOM.uniform(0, 2 * np.pi, POINTS), np.sqrt(_RANDOM.uniform(0, 1, POINTS))
_MESH = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], 1) * _RADIUS[:, None] * 0.9
"""Where the points of the face mesh are that have no place of their own in the drawing."""


def landmarks(look: Look, pose: Pose, size: int = SIZE) -> np.ndarray:
    """`[478, 2]`: MediaPipe's face mesh in pixels; points without a place in the drawing lie somewhere on the head."""
    return landmarks3d(look, pose, size)[:, :2]


def landmarks3d(look: Look, pose: Pose, size: int = SIZE) -> np.ndarray:
    """`[478, 3]`: the same with depths, which are the smaller the nearer a point is."""
    face, out = _MESH.copy(), np.zeros(POINTS)
    face[face[:, 1] > 0.6, 1] += 0.12 * pose.mouth_open
    for side, corners, lids in ((-1, (33, 133), (159, 145)), (1, (362, 263), (386, 374))):
        face[list(corners)] = [(side * look.eye_gap + x, EYES_AT) for x in (-look.eye_size, look.eye_size)]
        for lid, way in zip(lids, (-1, 1), strict=True):
            face[lid] = (side * look.eye_gap, EYES_AT + way * 0.8 * look.eye_size * (1 - pose.blink))
    face[list(NOSE)] = [(0.0, y) for y in np.linspace(EYES_AT, look.nose + 0.08, len(NOSE))]
    out[list(NOSE)] = np.linspace(0, TIP, len(NOSE))
    for side, brow in zip((-1, 1), BROWS, strict=True):
        face[list(brow)] = [(side * look.eye_gap + x, EYES_AT - 0.3 - 0.1 * pose.brows) for x in np.linspace(-0.2, 0.2, 5)]
    outer, inner = mouth_outlines(look, pose)
    face[list(OUTER_LIPS)] = outer
    face[[13, 14]] = inner[[5, 15]]
    return in_space(look, pose, face, out) * (size, size, -size)


def joints(look: Look, pose: Pose, size: int = SIZE) -> np.ndarray:
    """`[18, 3]`: OpenPose's body, x and y in pixels and a score, which is 0 for what the picture does not show."""
    found = np.zeros((JOINTS, 3))
    in_head = {0: (0, 0.1), 14: (-look.eye_gap, EYES_AT), 15: (look.eye_gap, EYES_AT), 16: (-1, 0), 17: (1, 0)}
    for joint, place in in_head.items():
        found[joint] = (*in_space(look, pose, place)[:2] * size, 1.0)
    chest = np.array((0.5, CHEST)) + pose.body
    for joint, x in {1: 0.0, 2: -0.75, 5: 0.75}.items():
        found[joint] = (*(chest + (x * look.shoulders, -0.06)) * size, 1.0)
    return found
