"""People in one moment as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from .. import SIZE
from .figure import CHEST, EARS_BACK, EYES_AT, MOUTH_AT, TIP, Pose, in_space, mouth_outlines, outline
from .look import MOUTH_INSIDE, Colour, Look

FINER = 4
"""Pictures are drawn so many times larger and made smaller, so that edges are soft and move by less than a pixel."""
DUSK = 0.2
"""How much darker a wall is at the bottom."""


def draw(look: Look, pose: Pose, size: int = SIZE) -> np.ndarray:
    """The picture, uint8 `[size, size, 3]`."""
    return draw_all([look], [pose], size)


def draw_all(looks: Sequence[Look], poses: Sequence[Pose], size: int = SIZE) -> np.ndarray:
    """People side by side before the wall of the first, uint8 `[size, size · people, 3]`."""
    fine, wall = size * FINER, looks[0].wall
    light = 1 - DUSK * np.linspace(0, 1, fine)[:, None, None]
    picture = Image.fromarray(np.broadcast_to((wall * light).astype(np.uint8), (fine, fine * len(looks), 3)).copy())
    pen = ImageDraw.Draw(picture)
    canvases = [_Canvas(pen, fine, place) for place in range(len(looks))]
    for canvas, look in zip(canvases, looks, strict=True):
        _background(canvas, replace(look, wall=wall), poses[0])
    for canvas, look, pose in zip(canvases, looks, poses, strict=True):
        _body(canvas, look, pose)
        _head(canvas, look, pose)
    return np.asarray(picture.resize((size * len(looks), size), Image.Resampling.BILINEAR))


def person_mask(look: Look, pose: Pose, size: int = SIZE) -> np.ndarray:
    """Where the person is, bool `[size, size]`: the picture's pixels that do not change when the wall does."""
    walls = ((0, 0, 0), (255, 255, 255))
    dark, bright = (draw(replace(look, wall=wall, shapes=()), pose, size).astype(int) for wall in walls)
    return np.abs(bright - dark).sum(-1) < 3 * 255 * (1 - DUSK) / 2


@dataclass(frozen=True)
class _Canvas:
    """Draws in parts of the picture's height, `left` of them from its left side."""

    draw: ImageDraw.ImageDraw
    scale: int
    left: float

    def _pixels(self, points: np.ndarray) -> list[tuple[float, ...]]:
        return [tuple(point) for point in (np.asarray(points)[..., :2] + (self.left, 0)) * self.scale]

    def shape(self, points: np.ndarray, colour: Colour) -> None:
        self.draw.polygon(self._pixels(points), fill=colour)

    def ellipse(self, middle: np.ndarray, radii: tuple[float, float], colour: Colour) -> None:
        ((x, y),) = self._pixels(np.asarray(middle)[None])
        a, b = (max(radius, 0.0) * self.scale for radius in radii)
        self.draw.ellipse((x - a, y - b, x + a, y + b), fill=colour)

    def line(self, points: np.ndarray, width: float, colour: Colour) -> None:
        self.draw.line(self._pixels(points), colour, max(1, round(width * self.scale)), "curve")


def _darker(colour: Colour, by: float) -> Colour:
    return tuple(round(part * (1 - by)) for part in colour)


def _lighter(colour: Colour, by: float) -> Colour:
    return tuple(round(part + (255 - part) * by) for part in colour)


def _background(canvas: _Canvas, look: Look, pose: Pose) -> None:
    for x, y, radius, darker in look.shapes:
        canvas.ellipse(np.array((x + pose.wall, y)), (radius, radius), _darker(look.wall, darker + DUSK * y))


def _body(canvas: _Canvas, look: Look, pose: Pose) -> None:
    middle = np.array((0.5, CHEST)) + pose.body
    angle = np.linspace(np.pi, 2 * np.pi, 25)
    top = middle + np.stack([look.shoulders * np.cos(angle), 0.12 * np.sin(angle)], 1)
    whole = np.concatenate([top, [(top[-1, 0], 1.3), (top[0, 0], 1.3)]])
    canvas.shape(whole, _darker(look.clothes, 0.15))
    far = (whole[:, 0] - middle[0]) * look.light < 0
    lit = np.where(far, middle[0] + 0.75 * (whole[:, 0] - middle[0]), whole[:, 0])
    canvas.shape(np.stack([lit, whole[:, 1]], 1), look.clothes)
    if look.style == "long":
        hair = in_space(look, pose, [(-1.15, -0.2), (1.15, -0.2), (1.25, 1.35), (-1.25, 1.35)])
        canvas.shape(hair, _darker(look.hair, 0.15))
    neck = in_space(look, replace(pose, turn=0.0, nod=0.0), [(-0.42, 0.7), (0.42, 0.7)])[:, :2]
    base = middle + np.array([(0.11, -0.06), (-0.11, -0.06)])
    canvas.ellipse(middle + (0, -0.06), (0.13, 0.05), _darker(look.clothes, 0.35))
    canvas.shape(np.concatenate([neck, base]), _darker(look.skin, 0.2))
    canvas.ellipse(middle + (0, -0.06), (0.11, 0.035), _darker(look.skin, 0.2))


def _head(canvas: _Canvas, look: Look, pose: Pose) -> None:
    def at(points, out: float = 0.0) -> np.ndarray:
        return in_space(look, pose, points, out)

    def one_side(points: np.ndarray) -> np.ndarray:
        """Without the part that lies in the shade."""
        return np.stack([np.where(points[:, 0] * look.light < 0, 0.8 * points[:, 0], points[:, 0]), points[:, 1]], 1)

    if look.style == "bob":
        canvas.shape(at([(-1.2, -0.3), (1.2, -0.3), (1.22, 0.75), (-1.22, 0.75)]), _darker(look.hair, 0.15))
    if look.style != "bald":
        canvas.shape(at(outline(look, pose, 1.14, high=0.15)), look.hair)
    for side in (-1, 1):
        canvas.ellipse(at((side * 1.0, 0.0), EARS_BACK), (0.16 * look.width, 0.17 * look.height), _darker(look.skin, 0.12))
    canvas.shape(at(outline(look, pose)), _darker(look.skin, 0.12))
    canvas.shape(at(one_side(outline(look, pose))), look.skin)
    if look.style != "bald":
        _fringe(canvas, look, pose)
    for side in (-1, 1):
        canvas.ellipse(at((side * 0.58, 0.27)), (0.16 * look.width, 0.1 * look.height), _blush(look.skin))
        _eye(canvas, look, pose, side)
    if look.rims:
        canvas.line(at([(-look.eye_gap + 0.3, EYES_AT), (0, EYES_AT - 0.05), (look.eye_gap - 0.3, EYES_AT)]), 0.016, look.rims)
    nose = np.concatenate([at([(0.02, 0.0)]), at([(0.09, look.nose + 0.08)], TIP), at([(-0.07, look.nose + 0.1)], TIP)])
    canvas.line(nose, 0.016, _darker(look.skin, 0.28))
    outer, inner = mouth_outlines(look, pose)
    canvas.shape(at(outer), look.lips)
    if pose.mouth_open > 0.01:
        canvas.shape(at(inner), MOUTH_INSIDE)
    else:
        canvas.line(at([(-0.85 * look.mouth, MOUTH_AT), (0.85 * look.mouth, MOUTH_AT)]), 0.01, _darker(look.lips, 0.35))


def _blush(skin: Colour) -> Colour:
    red, green, blue = skin
    return red, round(0.9 * green), round(0.92 * blue)


def _fringe(canvas: _Canvas, look: Look, pose: Pose) -> None:
    line = -1 + look.fringe + (0.25 * look.fringe if look.style == "bob" else 0)
    top = outline(look, pose, 1.06, high=line)
    top = top[np.argsort(top[:, 0])]
    edge = [(0.3, line - 0.3)] if look.style == "parted" else []
    canvas.shape(in_space(look, pose, np.concatenate([top, *([edge] if edge else [])])), look.hair)
    shine = np.linspace(-0.5 * np.pi, -0.5 * np.pi + 0.6 * look.light, 9)[2:]
    canvas.line(in_space(look, pose, 0.9 * np.stack([np.cos(shine), np.sin(shine)], 1)), 0.025, _lighter(look.hair, 0.2))


def _eye(canvas: _Canvas, look: Look, pose: Pose, side: int) -> None:
    def at(points) -> np.ndarray:
        return in_space(look, pose, points)

    middle = np.array((side * look.eye_gap, EYES_AT))
    wide, tall = look.eye_size * look.width * 1.15, look.eye_size * look.height * 0.8
    canvas.ellipse(at(middle), (wide, tall), (250, 250, 250))
    canvas.ellipse(at(middle), (0.76 * tall, 0.9 * tall), look.eyes)
    canvas.ellipse(at(middle), (0.4 * tall, 0.48 * tall), (20, 20, 25))
    canvas.ellipse(at(middle + np.array((0.25, -0.25)) * look.eye_size), (0.18 * tall, 0.18 * tall), (250, 250, 250))
    ring = np.linspace(0, 2 * np.pi, 33)
    circle = np.stack([np.cos(ring), np.sin(ring)], 1) * look.eye_size
    level = look.eye_size * (2 * pose.blink - 1)  # of the upper lid's edge
    if pose.blink > 0:
        lid = circle * (1.2, 0.86)
        canvas.shape(at(middle + np.stack([lid[:, 0], np.minimum(lid[:, 1], 0.8 * level)], 1)), _darker(look.skin, 0.12))
    reach = 1.15 * np.sqrt(max(look.eye_size**2 - level**2, (0.6 * look.eye_size) ** 2))
    edge = [(-reach, 0.8 * level + 0.3 * look.eye_size), (0.0, 0.8 * level), (reach, 0.8 * level + 0.3 * look.eye_size)]
    if pose.blink > 0.5:  # the lashes of a shut eye hang
        edge = [(x, 0.8 * level - 0.3 * look.eye_size * (abs(x) > 0)) for x, _ in edge]
    canvas.line(at(middle + np.array(edge)), 0.014, _darker(look.skin, 0.6))
    raised = EYES_AT - 0.3 - 0.1 * pose.brows
    brow = [(side * look.eye_gap + x, raised - lift) for x, lift in ((-0.22, 0), (0, 0.05), (0.22, 0))]
    colour = _darker(look.skin, 0.5) if look.style == "bald" else _darker(look.hair, 0.25)
    canvas.line(at(brow), look.brow * look.height, colour)
    if look.rims:
        canvas.line(at(middle + circle * (0.3, 0.26) / look.eye_size), 0.018, look.rims)
