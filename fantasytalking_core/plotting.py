"""What all plots of this package have in common."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

LEFT, RIGHT = 84, 24
"""Pixels beside a curve: its scale, and air."""
PAPER, INK, GRID, GAP = "#16181d", "#e8eaf0", "#343944", "#3a2a2e"
COLOURS = ("#ffb454", "#5ec8ff")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def sheet(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty picture, and what draws on it."""
    image = Image.new("RGB", (width, height), PAPER)
    return image, ImageDraw.Draw(image)


def fonts() -> tuple[Font, Font]:
    """For titles, and for everything else."""
    return ImageFont.load_default(22), ImageFont.load_default(15)


def finished(image: Image.Image) -> torch.Tensor:
    """A picture as IMAGE `[1, H, W, 3]`."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)[None]
