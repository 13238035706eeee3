"""A person in one moment: the picture, and what a landmark and a body detector would find in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from fantasytalking_core.face.landmarks import POINTS
from fantasytalking_core.motion.measure import JOINTS
from fantasytalking_core.training.data.lip_mask import OUTER_LIPS

from .. import SIZE
from .look import MOUTH_INSIDE, Colour, Look

FINER = 4
"""Pictures are drawn so many times larger and made smaller, so that edges are soft and move by less than a pixel."""
HEAD = (0.5, 0.46)
"""The middle of a head at rest."""
NECK = (0.5, 0.84)
"""What it tilts about."""
CHEST = 0.95
"""Height of the shoulders."""
MOUTH_AT = 0.52
"""The mouth's height in the face, in half heights of the head below its middle; the eyes are at -0.12."""
EYES_AT = -0.12
GAP = 0.32
"""Half the height of a wide open mouth, in half widths of the head."""
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
        body: x and y that the shoulders are shifted by.
        wall: x that the background is shifted by.
    """

    mouth_open: float = 0.0
    mouth_wide: float = 0.0
    blink: float = 0.0
    brows: float = 0.0
    head: tuple[float, float] = (0.0, 0.0)
    tilt: float = 0.0
    body: tuple[float, float] = (0.0, 0.0)
    wall: float = 0.0


def draw(look: Look, pose: Pose, size: int = SIZE) -> np.ndarray:
    """The picture, uint8 `[size, size, 3]`."""
    fine = size * FINER
    picture = Image.new("RGB", (fine, fine), look.wall)
    canvas = _Canvas(ImageDraw.Draw(picture), fine)
    _background(canvas, look, pose)
    _body(canvas, look, pose)
    _head(canvas, look, pose)
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def draw_all(looks: Sequence[Look], poses: Sequence[Pose], size: int = SIZE) -> np.ndarray:
    """People side by side before the first one's wall, uint8 `[size, people · size, 3]`."""
    drawn = [draw(replace(look, wall=looks[0].wall), pose, size) for look, pose in zip(looks, poses, strict=True)]
    return np.concatenate(drawn, axis=1)


def person_mask(look: Look, pose: Pose, size: int = SIZE) -> np.ndarray:
    """Where the person is, bool `[size, size]`: the picture's pixels that change when the wall does."""
    walls = ((0, 0, 0), (255, 255, 255))
    dark, bright = (draw(Look(**{**vars(look), "wall": wall, "shapes": ()}), pose, size).astype(int) for wall in walls)
    return np.abs(bright - dark).sum(-1) < 3 * 128


@dataclass(frozen=True)
class _Canvas:
    draw: ImageDraw.ImageDraw
    scale: int

    def shape(self, points: np.ndarray, colour: Colour) -> None:
        self.draw.polygon([tuple(point) for point in points * self.scale], fill=colour)

    def ellipse(self, middle: np.ndarray, radii: tuple[float, float], colour: Colour) -> None:
        x, y = np.asarray(middle) * self.scale
        a, b = (max(radius, 0.0) * self.scale for radius in radii)
        self.draw.ellipse((x - a, y - b, x + a, y + b), fill=colour)

    def line(self, points: np.ndarray, width: float, colour: Colour) -> None:
        self.draw.line([tuple(point) for point in points * self.scale], colour, max(1, round(width * self.scale)), "curve")


def _darker(colour: Colour, by: float) -> Colour:
    return tuple(round(part * (1 - by)) for part in colour)


def _in_picture(look: Look, pose: Pose, points: np.ndarray) -> np.ndarray:
    """Points of the face `[…, 2]`, in half sizes of the head, to the picture."""
    points = np.asarray(points, float) * (look.width, look.height) + HEAD - np.asarray(NECK)
    cos, sin = np.cos(pose.tilt), np.sin(pose.tilt)
    return points @ np.array(((cos, sin), (-sin, cos))) + NECK + pose.head


def _outline(look: Look, pose: Pose, wider: float = 1.0, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """The head's outline in its half sizes; the chin goes down with the mouth."""
    angle = np.linspace(0, 2 * np.pi, 73)
    x, y = np.cos(angle), np.sin(angle)
    below = np.clip(y, 0, 1)
    points = np.stack([x * (1 - look.jaw * below**2) * wider, y * wider + 0.12 * pose.mouth_open * below**2], 1)
    return points[(points[:, 1] >= low) & (points[:, 1] <= high)]


def mouth_outlines(look: Look, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """The lips' outer outline, 20 points in the order of `lip_mask.OUTER_LIPS`, and the gap's, in half sizes of the head."""
    half = look.mouth * (1 + 0.28 * pose.mouth_wide)
    gap = GAP * pose.mouth_open * look.width / look.height
    angle = np.pi - np.arange(20) * 2 * np.pi / 20
    x, y = np.cos(angle), np.sin(angle)
    lip = 0.055
    middle = MOUTH_AT + 0.5 * gap
    outer = np.stack([half * x, middle + (gap + lip) * y], 1)
    inner = np.stack([0.9 * half * x, middle + gap * y], 1)
    return outer, inner


def _background(canvas: _Canvas, look: Look, pose: Pose) -> None:
    for x, y, radius, darker in look.shapes:
        canvas.ellipse(np.array((x + pose.wall, y)), (radius, radius), _darker(look.wall, darker))


def _body(canvas: _Canvas, look: Look, pose: Pose) -> None:
    middle = np.array((0.5, CHEST)) + pose.body
    angle = np.linspace(np.pi, 2 * np.pi, 25)
    top = middle + np.stack([look.shoulders * np.cos(angle), 0.12 * np.sin(angle)], 1)
    canvas.shape(np.concatenate([top, [(top[-1, 0], 1.3), (top[0, 0], 1.3)]]), look.clothes)
    if look.style == "long":
        canvas.shape(_in_picture(look, pose, [(-1.15, -0.2), (1.15, -0.2), (1.25, 1.35), (-1.25, 1.35)]), look.hair)
    neck = np.array([(-0.42, 0.7), (0.42, 0.7)])
    base = middle + np.array([(0.11, -0.06), (-0.11, -0.06)])
    canvas.shape(np.concatenate([_in_picture(look, pose, neck), base]), _darker(look.skin, 0.14))
    canvas.ellipse(middle + (0, -0.06), (0.11, 0.035), _darker(look.skin, 0.14))


def _head(canvas: _Canvas, look: Look, pose: Pose) -> None:
    def at(points) -> np.ndarray:
        return _in_picture(look, pose, np.asarray(points))

    if look.style == "bob":
        canvas.shape(at([(-1.2, -0.3), (1.2, -0.3), (1.22, 0.75), (-1.22, 0.75)]), look.hair)
    if look.style != "bald":
        canvas.shape(at(_outline(look, pose, 1.14, high=0.15)), look.hair)
    for side in (-1, 1):
        canvas.ellipse(at((side * 1.0, 0.0)), (0.16 * look.width, 0.17 * look.height), _darker(look.skin, 0.08))
    canvas.shape(at(_outline(look, pose)), look.skin)
    if look.style != "bald":
        line = -1 + look.fringe + (0.25 * look.fringe if look.style == "bob" else 0)
        top = _outline(look, pose, 1.06, high=line)
        top = top[np.argsort(top[:, 0])]
        edge = [(0.3, line - 0.3)] if look.style == "parted" else []
        canvas.shape(at(np.concatenate([top, *([edge] if edge else [])])), look.hair)
    for side in (-1, 1):
        middle = np.array((side * look.eye_gap, EYES_AT))
        wide, tall = look.eye_size * look.width * 1.15, look.eye_size * look.height * 0.8
        canvas.ellipse(at(middle), (wide, tall), (250, 250, 250))
        canvas.ellipse(at(middle), (0.72 * tall, 0.85 * tall), look.eyes)
        canvas.ellipse(at(middle), (0.36 * tall, 0.42 * tall), (20, 20, 25))
        if pose.blink > 0:
            canvas.ellipse(at(middle), (1.05 * wide, 1.05 * tall * pose.blink), _darker(look.skin, 0.1))
            canvas.line(at(middle + np.array([(-0.9, 0.5), (0.9, 0.5)]) * look.eye_size), 0.008, _darker(look.skin, 0.5))
        raised = EYES_AT - 0.28 - 0.1 * pose.brows
        brow = [(side * look.eye_gap + x, raised - lift) for x, lift in ((-0.2, 0), (0, 0.05), (0.2, 0))]
        colour = _darker(look.skin, 0.5) if look.style == "bald" else _darker(look.hair, 0.25)
        canvas.line(at(brow), look.brow * look.height, colour)
        if look.glasses:
            ring = np.linspace(0, 2 * np.pi, 25)
            canvas.line(at(middle + 0.29 * np.stack([np.cos(ring), 0.85 * np.sin(ring)], 1)), 0.012, (40, 40, 50))
    canvas.line(at([(0.02, 0.0), (0.09, look.nose + 0.08), (-0.07, look.nose + 0.1)]), 0.014, _darker(look.skin, 0.25))
    outer, inner = mouth_outlines(look, pose)
    canvas.shape(at(outer), look.lips)
    if pose.mouth_open > 0.01:
        canvas.shape(at(inner), MOUTH_INSIDE)
    else:
        canvas.line(at([(-0.85 * look.mouth, MOUTH_AT), (0.85 * look.mouth, MOUTH_AT)]), 0.008, _darker(look.lips, 0.35))


_RANDOM = np.random.default_rng(10)
_ANGLE, _RADIUS = _RANDOM.uniform(0, 2 * np.pi, POINTS), np.sqrt(_RANDOM.uniform(0, 1, POINTS))
_MESH = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], 1) * _RADIUS[:, None] * 0.9
"""Where the points of the face mesh are that have no place of their own in the drawing."""


def landmarks(look: Look, pose: Pose, size: int = SIZE) -> np.ndarray:
    """`[478, 2]`: MediaPipe's face mesh in pixels; points without a place in the drawing lie somewhere on the head."""
    face = _MESH.copy()
    face[face[:, 1] > 0.6, 1] += 0.12 * pose.mouth_open
    for side, corners, lids in ((-1, (33, 133), (159, 145)), (1, (362, 263), (386, 374))):
        face[list(corners)] = [(side * look.eye_gap + x, EYES_AT) for x in (-look.eye_size, look.eye_size)]
        for lid, way in zip(lids, (-1, 1), strict=True):
            face[lid] = (side * look.eye_gap, EYES_AT + way * 0.8 * look.eye_size * (1 - pose.blink))
    face[list(NOSE)] = [(0.0, y) for y in np.linspace(EYES_AT, look.nose + 0.08, len(NOSE))]
    for side, brow in zip((-1, 1), BROWS, strict=True):
        face[list(brow)] = [(side * look.eye_gap + x, EYES_AT - 0.3 - 0.1 * pose.brows) for x in np.linspace(-0.2, 0.2, 5)]
    outer, inner = mouth_outlines(look, pose)
    face[list(OUTER_LIPS)] = outer
    face[[13, 14]] = inner[[5, 15]]
    return _in_picture(look, pose, face) * size


def joints(look: Look, pose: Pose, size: int = SIZE) -> np.ndarray:
    """`[18, 3]`: OpenPose's body, x and y in pixels and a score, which is 0 for what the picture does not show."""
    found = np.zeros((JOINTS, 3))
    in_head = {0: (0, 0.1), 14: (-look.eye_gap, EYES_AT), 15: (look.eye_gap, EYES_AT), 16: (-1, 0), 17: (1, 0)}
    for joint, place in in_head.items():
        found[joint] = (*_in_picture(look, pose, np.array(place)) * size, 1.0)
    chest = np.array((0.5, CHEST)) + pose.body
    for joint, x in {1: 0.0, 2: -0.75, 5: 0.75}.items():
        found[joint] = (*(chest + (x * look.shoulders, -0.06)) * size, 1.0)
    return found
