"""Where in a clip nobody speaks."""

import torch

QUANTILE, SHARE = 0.95, 0.05
"""Silence is what stays below this share of this quantile of a clip's loudness: measured with the small models, whose mouths
are wiped off in such frames where the speech is guided there as strongly as elsewhere."""
BEFORE, AFTER = 5, 2
"""Frames around a latent frame's first of four that its window of speech reaches over, at 23 fps."""


def speaking(loudness: torch.Tensor) -> torch.Tensor:
    """bool `[T]`: the latent frames t in which something is heard, of the loudness `[4 (T − 1) + 1]` of a clip's frames:
    where any of the frames 4t − 5 … 4t + 2 is no silence."""
    loud = torch.quantile(loudness, QUANTILE) * SHARE
    is_loud = (loudness >= loud) & (loudness > 0)
    starts = range(0, len(loudness), 4)
    return torch.stack([is_loud[max(start - BEFORE, 0) : start + AFTER + 1].any() for start in starts])
