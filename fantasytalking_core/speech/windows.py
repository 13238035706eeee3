"""Which audio tokens each latent frame hears (§3.2, stage 2): the release's window map, to the integer.

The tokens of a clip are regrouped as f × l′ × c, one window per latent frame: 8 tokens per latent frame and
one more at 23 fps, widened by 4 on each side, l′ = 17.
"""

import torch

from ..errors import FantasyTalkingError
from ..latent_grid import MIN_FRAMES, TEMPORAL, latent_frames

EXPAND = 4
"""Tokens added to both ends of every window (release)."""
PADDING = -1
"""The index of a place in a window that holds no token. Masked, never attended: the release without
flash-attention attends to its zero keys as if they were sound."""


def window_ranges(tokens: int, frames: int) -> list[tuple[int, int]]:
    """First and last token (both inclusive, before widening) of every latent frame's window.

    The order of the floating-point operations is the release's: algebraically equal expressions give other
    integers for 1 to 2 % of all clips. The first frame stands alone before the others, so its window ends
    where the second one starts; starts below 0 and ends past the clip are normal.

    Args:
        tokens: audio tokens of the whole clip.
        frames: video frames, at least 5.
    """
    if frames < MIN_FRAMES:
        raise FantasyTalkingError(f"A clip of {frames} frames has no window map, expected at least {MIN_FRAMES} frames.")
    ratio = tokens / frames
    half = int(ratio * TEMPORAL / 2)
    ranges = []
    for i in range(1, latent_frames(frames)):
        centre = int((ratio * ((i - 1) * TEMPORAL + 1) + ratio * (i * TEMPORAL + 1)) / 2) - 1
        ranges.append((centre - half, centre + half))
    start = ranges[0][0]
    return [(start - 2 * half, start), *ranges]


def window_tokens(ranges: list[tuple[int, int]], tokens: int, expand: int = EXPAND) -> torch.Tensor:
    """Token indices of every range, widened by `expand` on both sides.

    Returns:
        int64 `[T, l′]`; the tokens that exist come first, `PADDING` fills the rest.
    """
    rows = []
    for first, last in ranges:
        heard = list(range(max(first - expand, 0), min(last + expand, tokens - 1) + 1))
        rows.append(heard + [PADDING] * (last - first + 1 + 2 * expand - len(heard)))
    return torch.tensor(rows, dtype=torch.int64)


def window_map(tokens: int, frames: int, expand: int = EXPAND) -> torch.Tensor:
    """Which of a clip's audio tokens each latent frame hears: int64 `[T, l′]`, see `window_tokens`."""
    return window_tokens(window_ranges(tokens, frames), tokens, expand)
