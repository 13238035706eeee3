"""The lip mask M of the lip-focused loss (§3.2, Eq. 2): the mouth in every frame, brought to the latent grid.

The paper projects a mask in pixel space by trilinear interpolation. A latent frame stands for four frames and a latent
pixel for 8 × 8, and one interpolation over such a stride looks at 8 of the 256 values of a cell: a small mouth can fall
between them. So the mask is halved by trilinear interpolation again and again, as a mipmap: frames twice, height and
width three times. Each halving is the mean of 2 × 2 × 2 (or 2 × 2) neighbours, and so the result is the mean of a cell:
the part of it that is lips. As in the VAE, the first frame is a latent frame of its own.
"""

import torch
from einops import reduce

from ...face.landmarks import OUTER_LIPS as OUTER_LIPS
from ...latent_grid import SPATIAL, TEMPORAL


def lip_mask(polygons: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The mask of a clip at latent resolution.

    Args:
        polygons: `[F, K, 2]` outlines of the lips, x and y in pixels from the corner of the first pixel; NaN in a frame
            without a face, which has no lips. F is 4n + 1.
        height, width: of the frames in pixels, multiples of 8.

    Returns:
        `[(F − 1) / 4 + 1, height / 8, width / 8]` float32 in [0, 1].
    """
    return to_latent_grid(torch.stack([filled(polygon, height, width) for polygon in polygons]))


def filled(polygon: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`[height, width]` bool: the pixels whose centres lie inside of a polygon `[K, 2]`, by the even-odd rule.

    Empty where the polygon holds a coordinate that is not finite. It may leave the picture.
    """
    mask = torch.zeros(height, width, dtype=torch.bool)
    if not torch.isfinite(polygon).all():
        return mask
    polygon = polygon.double().cpu()
    (left, top), (right, bottom) = polygon.amin(0).floor().tolist(), polygon.amax(0).ceil().tolist()
    rows = slice(max(0, int(top)), max(0, min(height, int(bottom))))
    columns = slice(max(0, int(left)), max(0, min(width, int(right))))
    y = torch.arange(height, dtype=torch.float64)[rows, None, None] + 0.5
    x = torch.arange(width, dtype=torch.float64)[columns, None] + 0.5
    (x1, y1), (x2, y2) = polygon.unbind(-1), polygon.roll(-1, 0).unbind(-1)
    crosses = (y1 <= y) != (y2 <= y)  # level edges never do, so nothing is divided by zero where it counts
    right_of = x < x1 + (y - y1) / (y2 - y1) * (x2 - x1)
    mask[rows, columns] = (crosses & right_of).sum(-1) % 2 == 1
    return mask


def to_latent_grid(mask: torch.Tensor) -> torch.Tensor:
    """`[F, H, W]` in pixels to `[(F − 1) / 4 + 1, H / 8, W / 8]`, see above."""
    cells = reduce(mask.float(), "f (h y) (w x) -> f h w", "mean", y=SPATIAL, x=SPATIAL)
    return torch.cat([cells[:1], reduce(cells[1:], "(t four) h w -> t h w", "mean", four=TEMPORAL)])
