"""A long take: one window after another, each anchored on the portrait.

A window after the first is [the portrait's latent · the last finished latents · new ones]. The first two are held while it
is sampled, so that the person can't drift away from the portrait and motion goes on where it was; latents are carried, never
decoded and encoded again. An idea of this project and not of the paper, whose clips have 81 frames.
"""

from dataclasses import dataclass

from ..errors import FantasyTalkingError
from ..latent_grid import TEMPORAL, is_clip_length, latent_frames

WINDOW, OVERLAP = 81, 12
"""Frames: of a window, as in the training, and of those that it is held to. What was measured: docs/long_takes.md."""


@dataclass(frozen=True)
class Window:
    """One window. All of it follows from these numbers, so that a job goes on from any of them.

    Attributes:
        start: its first new latent frame, in the whole.
        held: finished latent frames before it that it begins with, after the portrait's.
        new: latent frames that it adds.
    """

    start: int
    held: int
    new: int

    @property
    def anchored(self) -> int:
        """Latent frames that are held: the portrait's and the finished ones; none in the first window."""
        return self.held + 1 if self.start else 0

    @property
    def latents(self) -> int:
        return self.anchored + self.new

    def places(self) -> list[int]:
        """Which latent frame of the whole each of its own is; the anchor is, and hears as, the first of all."""
        before = [0, *range(self.start - self.held, self.start)] if self.start else []
        return [*before, *range(self.start, self.start + self.new)]


def plan(frames: int, window: int = WINDOW, overlap: int = OVERLAP) -> list[Window]:
    """The windows of a clip; the last one is shorter where less is left.

    Args:
        frames: of the clip, 4n + 1.
        window: frames of a window, 4n + 1.
        overlap: frames that a window is held to, in whole latent frames.

    Raises:
        FantasyTalkingError: a window that is no clip, or an overlap that leaves nothing new.
    """
    if not is_clip_length(window):
        raise FantasyTalkingError(f"window is {window} frames, expected 4n + 1 and at least 5; {WINDOW} is what was trained.")
    total, size, held = latent_frames(frames), latent_frames(window), overlap // TEMPORAL
    if overlap < 0 or held > size - 2:
        raise FantasyTalkingError(
            f"overlap is {overlap} frames of a window of {window}, which leaves nothing new: expected 0 to "
            f"{TEMPORAL * (size - 1) - 1}; {OVERLAP} is what was measured."
        )
    windows = [Window(0, 0, min(size, total))]
    while (start := windows[-1].start + windows[-1].new) < total:
        windows.append(Window(start, held, min(size - 1 - held, total - start)))
    return windows
