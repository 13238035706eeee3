"""A picture of how much face and body move over a clip."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from PIL import ImageDraw

from ..plotting import COLOURS, GAP, GRID, INK, LEFT, RIGHT, finished, fonts, sheet
from .measure import Measured

WIDTH, HEIGHT = 960, 300
"""Pixels of one curve's panel."""
TOP, BOTTOM = 72, 44


@dataclass(frozen=True)
class Panel:
    """One curve.

    Attributes:
        title: what moves.
        unit: what its distances are measured in.
        measured: None where it was not.
        coefficient: what its variance maps to.
        between: the variances that map to 0 and to 1, None where an adapter was not trained on any.
        neutral: why the coefficient is neutral where one of the two is None.
    """

    title: str
    unit: str
    measured: Measured | None
    coefficient: float
    between: tuple[float, float] | None
    neutral: str = ""


def plot(panels: list[Panel]) -> torch.Tensor:
    """The curves one below the other, an IMAGE `[1, H, W, 3]`; stretches without face or joints are shaded."""
    image, draw = sheet(WIDTH, HEIGHT * len(panels))
    for index, (panel, colour) in enumerate(zip(panels, COLOURS, strict=True)):
        _panel(draw, panel, index * HEIGHT, colour)
    return finished(image)


def _panel(draw: ImageDraw.ImageDraw, panel: Panel, top: int, colour: str) -> None:
    left, right, upper, lower = LEFT, WIDTH - RIGHT, top + TOP, top + HEIGHT - BOTTOM
    title, small = fonts()
    draw.text((left, top + 14), f"{panel.title}: {panel.coefficient:.2f}", colour, title)
    if panel.measured is None or panel.between is None:
        draw.text((left, upper), f"neutral: {panel.neutral}", INK, small)
        return
    low, high = panel.between
    caption = f"variance {panel.measured.variance:.3g} between {low:g} and {high:g}"
    draw.text((right, top + 18), caption, INK, small, anchor="ra")
    draw.text((left, top + 42), f"distance of the points from their mean places, in {panel.unit}", INK, small)
    curve = panel.measured.curve.tolist()
    highest = max([value for value in curve if value == value] + [high**0.5]) * 1.1
    step = (right - left) / max(len(curve) - 1, 1)

    def place(index: int, value: float) -> tuple[float, float]:
        return left + index * step, lower - (lower - upper) * value / highest

    for index, value in enumerate(curve):
        if value != value:
            draw.rectangle((left + (index - 0.5) * step, upper, left + (index + 0.5) * step, lower), GAP)
    for part in range(5):
        y = lower - (lower - upper) * part / 4
        draw.line((left, y, right, y), GRID)
        draw.text((left - 10, y), f"{highest * part / 4:.3f}", INK, small, anchor="rm")
    for index in sorted({round((len(curve) - 1) * part / 8) for part in range(9)}):
        draw.text((left + index * step, lower + 8), str(index), INK, small, anchor="ma")
    draw.text(((left + right) / 2, lower + 24), "frame", INK, small, anchor="ma")
    points = [place(index, value) if value == value else None for index, value in enumerate(curve)]
    for start, end in pairwise(points):
        if start and end:
            draw.line((*start, *end), colour, 3)
    for point in points:
        if point and len(points) <= 120:
            draw.circle(point, 3, colour)
