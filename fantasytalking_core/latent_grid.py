"""Video frames on the latent grid of Wan2.1's VAE: the first frame alone, then four to a latent frame; 8 × 8 pixels each."""

import math

TEMPORAL, SPATIAL = 4, 8
"""Strides of the VAE, in frames and pixels."""
LATENT_CHANNELS = 16
MULTIPLE = 2 * SPATIAL
"""Pixels: a video token's side, of which a video's sides are multiples."""
MIN_FRAMES = 5
"""Two latent frames, the shortest clip that the window map knows."""


def latent_frames(frames: int) -> int:
    """Latent frames of a clip of `frames`."""
    return (frames - 1) // TEMPORAL + 1


def video_frames(latents: int) -> int:
    """Frames that `latents` latent frames decode to."""
    return TEMPORAL * (latents - 1) + 1


def nearest_sides(*sides: int) -> list[int]:
    """Each side's nearest that a video can have."""
    return [max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE) for side in sides]


def is_clip_length(frames: int) -> bool:
    """Whether `frames` is 4n + 1 and at least 5."""
    return frames >= MIN_FRAMES and frames % TEMPORAL == 1


def clip_length_from(frames: int) -> int:
    """The smallest clip length of at least `frames`."""
    return max(MIN_FRAMES, video_frames(math.ceil((frames - 1) / TEMPORAL) + 1))
