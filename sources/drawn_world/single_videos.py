"""What single videos are like: a mean says nothing of the one that falls apart."""

import numpy as np

from .records import NEUTRAL, STRANGER, THROUGH_VAE, Record

IN_TIME = 0.5
"""Synchrony that anyone sees."""
PART = 1 / 3
"""Of the way from the portrait to another person: no frame is to be farther."""


def told(found: dict[str, list[Record]]) -> str:
    """How many videos are in time, and how far their farthest frames are from the portrait."""
    limit = PART * np.mean([record.identity for record in found[STRANGER]])
    synchronies = np.array([record.synchrony for record in found[NEUTRAL]])
    lines = [
        f"Synchrony is at least {IN_TIME:g} in {np.mean(synchronies >= IN_TIME):.0%} of the videos; "
        f"they range from {synchronies.min():.2f} to {synchronies.max():.2f}."
    ]
    for name, what in ((NEUTRAL, "A video's farthest frame"), (THROUGH_VAE, "That of the drawn clips through the VAE")):
        farthest = [record.farthest for record in found[name]]
        if farthest:
            far = sum(distance > limit for distance in farthest)
            lines.append(
                f"{what} is at {np.mean(farthest):.1f} from the portrait in the mean, at {max(farthest):.1f} at most; in "
                f"{far} of {len(farthest)} videos it is beyond {limit:.1f}, a third of the way to another person."
            )
    return " ".join(lines)
