"""What previews draw on a picture: boxes, and faces with their numbers."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from .detector import Box

Colour = tuple[int, int, int]


class Drawing:
    """A picture `[H, W, 3]` in [0, 1] that is drawn on, in lines and letters that are seen at its size."""

    def __init__(self, picture: torch.Tensor) -> None:
        self.device = picture.device
        self.image = Image.fromarray((picture.detach().cpu() * 255).round().byte().numpy())
        self.draw, short = ImageDraw.Draw(self.image), min(self.image.size)
        self.line, self.font = max(1, round(short / 200)), ImageFont.load_default(max(10, round(short / 24)))

    def outline(self, left: float, top: float, right: float, bottom: float, colour: Colour, width: int) -> None:
        """A box; what lies outside is drawn along the edge, so that it is seen where the picture ends."""
        corners = max(0, left), max(0, top), min(self.image.width, right) - 1, min(self.image.height, bottom) - 1
        if corners[0] <= corners[2] and corners[1] <= corners[3]:
            self.draw.rectangle(corners, outline=colour, width=width)

    def face(self, face: Box, number: int, colour: Colour) -> None:
        """A face's box, and its number above it, or where there is room."""
        self.outline(face.left, face.top, face.right, face.bottom, colour, self.line)
        left, top, right, bottom = self.draw.textbbox((0, 0), str(number), font=self.font)
        width, height = right - left + 4 * self.line, bottom - top + 4 * self.line
        x = min(max(0, face.left), self.image.width - width)
        y = min(max(0, face.top - height), self.image.height - height)
        self.draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
        place = x + 2 * self.line - left, y + 2 * self.line - top
        self.draw.text(place, str(number), fill=(0, 0, 0), font=self.font)

    def finished(self) -> torch.Tensor:
        """`[H, W, 3]` float32 in [0, 1]."""
        return torch.from_numpy(np.array(self.image)).to(self.device, torch.float32) / 255
