"""The evaluation's plots and sheets of frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fantasytalking_core.plotting import COLOURS, GRID, INK, LEFT, RIGHT, fonts, sheet

WIDTH = 960
INNER = WIDTH - LEFT - RIGHT
ROW, HEAD, FOOT = 110, 58, 44
"""Heights: of a curve, of what stands above all of them, and below."""
ENLARGED = 2
"""How many times larger the frames are shown."""
LABEL = 150
"""Pixels beside a row of frames."""


def curves(path: Path, rows: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Mouths and sound over time.

    Args:
        rows: per clip what stands beside it, the mouth's opening and the loudness, `[F]`; each is scaled to its largest.
    """
    title, small = fonts()
    image, draw = sheet(WIDTH, HEAD + ROW * len(rows) + FOOT)
    draw.text((LEFT, 10), "mouth", COLOURS[0], title)
    draw.text((LEFT + 80, 10), "loudness of the speech", COLOURS[1], title)
    for index, (label, opening, loud) in enumerate(rows):
        top, bottom = HEAD + ROW * index + 8, HEAD + ROW * (index + 1) - 8
        draw.line((LEFT, bottom, WIDTH - RIGHT, bottom), GRID)
        for line, part in enumerate(label.split("\n")):
            draw.text((8, top + 18 * line), part, INK, small)
        for values, colour in ((loud, COLOURS[1]), (opening, COLOURS[0])):
            x = LEFT + np.arange(len(values)) * INNER / (len(values) - 1)
            y = bottom - (bottom - top) * values / max(values.max(), 1e-9)
            draw.line(list(zip(x, y, strict=True)), colour, 3)
    last = len(rows[0][1]) - 1
    for frame in range(0, last + 1, 4):
        draw.text((LEFT + frame * INNER / last, image.height - FOOT + 8), str(frame), INK, small, anchor="ma")
    draw.text((8, image.height - FOOT + 8), "frame", INK, small)
    image.save(path)


def histogram(path: Path, groups: Mapping[str, Sequence[int]], highest: int) -> None:
    """How often each lag from −highest to highest is the best one.

    Args:
        groups: lags by what they are of; at most two groups.
    """
    title, small = fonts()
    height = 300
    image, draw = sheet(WIDTH, height)
    bottom, top, step = height - FOOT, HEAD, INNER / (2 * highest + 1)
    every = np.arange(-highest, highest + 1)
    shares = {name: np.equal.outer(every, lags).mean(1) for name, lags in groups.items()}
    most = max(max(share.max() for share in shares.values()), 1e-9)
    for index, (name, share) in enumerate(shares.items()):
        colour, wide = COLOURS[index], step * 0.8 / len(shares)
        draw.text((LEFT + 420 * index, 12), name, colour, title)
        for lag, value in enumerate(share):
            left = LEFT + lag * step + step * 0.1 + index * wide
            if value:
                draw.rectangle((left, bottom - (bottom - top) * value / most, left + wide - 2, bottom), colour)
    for lag in every:
        draw.text((LEFT + (lag + highest + 0.5) * step, bottom + 8), f"{lag:+d}" if lag else "0", INK, small, anchor="ma")
    draw.line((LEFT, bottom, WIDTH - RIGHT, bottom), GRID)
    draw.text((8, bottom + 8), "frames late", INK, small)
    draw.text((LEFT - 10, top), f"{most:.0%}", INK, small, anchor="rm")
    image.save(path)


def levels(path: Path, panels: Sequence[tuple[str, Sequence[float], Mapping[str, Sequence[tuple[float, float]]]]]) -> None:
    """Measures over a coefficient, with their standard errors.

    Args:
        panels: per panel its title, the coefficient's values, and by name mean and standard error at each of them.
    """
    title, small = fonts()
    height, wide = 340, WIDTH / len(panels)
    image, draw = sheet(WIDTH, height)
    top, bottom = HEAD + 34, height - FOOT
    for index, (heading, values, lines) in enumerate(panels):
        left, right = wide * index + LEFT, wide * (index + 1) - RIGHT
        draw.text((left, 10), heading, INK, title)
        draw.line((left, bottom, right, bottom), GRID)
        most = max(mean + error for line in lines.values() for mean, error in line) or 1
        draw.text((left - 10, top), f"{most:.2f}", INK, small, anchor="rm")
        draw.text((left - 10, bottom), "0", INK, small, anchor="rm")
        for place, (name, line) in enumerate(lines.items()):
            colour = COLOURS[place]
            draw.text((left + 190 * place, 42), name, colour, small)
            across, up = right - left, (bottom - top) / most
            points = [(left + across * value, bottom - up * mean) for value, (mean, _) in zip(values, line, strict=True)]
            draw.line(points, colour, 3)
            for (x, y), (_, error) in zip(points, line, strict=True):
                draw.line((x, y - up * error, x, y + up * error), colour, 2)
                draw.ellipse((x - 5, y - 5, x + 5, y + 5), colour)
        for value in values:
            draw.text((left + (right - left) * value, bottom + 8), f"{value:g}", INK, small, anchor="ma")
    image.save(path)


def contact(path: Path, rows: Sequence[tuple[str, np.ndarray]], every: int = 4, enlarged: int = ENLARGED) -> None:
    """Every so many frames of videos below one another.

    Args:
        rows: per video what stands beside it, and its frames `[F, H, W, 3]` in [0, 1].
    """
    _, small = fonts()
    count = max(len(range(0, len(frames), every)) for _, frames in rows)
    side, wide = (edge * enlarged for edge in rows[0][1].shape[1:3])
    image, draw = sheet(LABEL + count * (wide + 2), 26 + len(rows) * (side + 2))
    for column in range(count):
        draw.text((LABEL + column * (wide + 2) + wide / 2, 5), f"frame {column * every}", INK, small, anchor="ma")
    for row, (label, frames) in enumerate(rows):
        top = 26 + row * (side + 2)
        _beside(draw, label, top)
        for column, frame in enumerate(frames[::every]):
            picture = Image.fromarray((frame * 255).round().astype(np.uint8)).resize((wide, side), Image.Resampling.NEAREST)
            image.paste(picture, (LABEL + column * (wide + 2), top))
    image.save(path, quality=88)


def _beside(draw: ImageDraw.ImageDraw, label: str, top: float) -> None:
    _, small = fonts()
    for line, part in enumerate(label.split("\n")):
        draw.text((8, top + 8 + 20 * line), part, INK, small)
