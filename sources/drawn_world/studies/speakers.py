"""Two people in a picture, each with a speech of their own: both at once, in turns, and one alone."""

import numpy as np

from .. import LONG_FRAMES, measures
from ..studio import Studio
from .people import OPENNESS, Pair, Seen, said, samples
from .study import Made, Study

FRAMES = LONG_FRAMES


def rows(studio: Studio, number: int) -> Made:
    pair, length = Pair.of(number), samples(FRAMES)
    first, second = (said(500 + 2 * number + place, length / 16000)[:length] for place in range(2))
    quiet, half = np.zeros(length, np.float32), np.arange(length) < length // 2
    scenes = {
        "both at once": (first, second),
        "in turns": (first * half, second * ~half),
        "the left one alone": (first, quiet),
        "the right one alone": (quiet, second),
    }
    found = {}
    for name, sounds in scenes.items():
        frames = pair.filmed(studio, sounds, FRAMES, number)
        found[name] = measured(pair.seen(frames), sounds), frames
    return found


def measured(seen: tuple[Seen, Seen], sounds: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """Of both mouths, or of the one that speaks or is silent."""
    loud = [measures.loudness(sound, FRAMES) for sound in sounds]
    own, others, wide, silent = [], [], [], []
    for place, each in enumerate(seen):
        mine, other = loud[place], loud[1 - place]
        if mine.any():
            own.append(measures.correlation(each.opening, mine))
            wide.append(OPENNESS * np.quantile(each.opening, 0.95))
        if other.any():
            others.append(measures.correlation(each.opening, other))
        still = np.convolve(mine > 0.05 * max(mine.max(), 1e-9), np.ones(9), mode="same") == 0  # and not beside speech
        if still.sum() > 8:
            silent.append(OPENNESS * each.opening[still].mean())
    return {
        "with its own speech": float(np.mean(own)),
        "with the other's": float(np.mean(others)),
        "open in speech": float(np.mean(wide)),
        **({"open while silent": float(np.mean(silent))} if silent else {}),
    }


STUDY = Study(
    "speakers",
    "Two speakers",
    f"{FRAMES} frames of two people side by side, masks by Speaker Masks, no identity given. The adapter was trained on single "
    "speakers only: who hears what comes from the masks alone. Correlation of each mouth with the loudness of its own speech "
    "and of the other's. Open: beyond the portrait's shut lips, in thousandths of the picture, the 95 % quantile in speech and "
    "the mean where the speaker is silent; below 0 it is shut more firmly than in the portrait.",
    rows,
)
