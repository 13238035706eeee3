"""How a person moves while speaking: sound to the moments of a clip.

Mouth, head beats and raised brows follow from the sound alone; blinks and sway are chance, but people sway more while they
speak.
"""

import numpy as np

from .figure import Pose
from .voices import RATE

WINDOW = 1024
"""Samples that are listened to around a frame: 64 ms."""
LOUD = 0.95
"""Quantile of a recording's loudness at which a mouth is wide open."""
QUIET = 0.05
"""Part of that loudness below which a mouth is closed."""
INERTIA = (0.2, 0.6, 0.2)
"""Lips have weight: what a frame hears moves those beside it, too."""
STRESSED = 0.6
"""Part of LOUD that a peak of loudness must reach to be a stressed syllable."""
APART, BEAT = 0.35, 0.4
"""Seconds that stressed syllables lie apart at least, and that a beat lasts."""
CALM = 0.4
"""How much of the sway is left in silence."""
LOW, MIDDLE, HIGH = (200, 500), (500, 1000), (1500, 3500)
"""Hz. More in the middle than in the low band opens the mouth ("ah" against "ee"), more in the high one spreads it."""


def loudness(sound: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """Root mean square of 64 ms of sound around each frame's time, `[frames]`."""
    return np.sqrt((_pieces(sound, frames, fps) ** 2).mean(1))


def _pieces(sound: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """`[frames, WINDOW]`: the sound around the middle of each frame."""
    padded = np.pad(sound, (WINDOW, 2 * WINDOW))
    starts = [round((frame + 0.5) / fps * RATE) + WINDOW // 2 for frame in range(frames)]
    return np.stack([padded[start : start + WINDOW] for start in starts])


def relative(loud: np.ndarray) -> np.ndarray:
    """Loudness in parts of what is loud in this recording, `[frames]`."""
    heard = loud[loud > QUIET * loud.max()]
    return loud / max(np.quantile(heard, LOUD) if len(heard) else 0.0, 1e-6)


def mouth(sound: np.ndarray, frames: int, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """How far open, 0 to 1, and how wide, -1 to 1, in each frame."""
    loud = np.clip((relative(loudness(sound, frames, fps)) - QUIET) / (1 - QUIET), 0, 1)
    power = np.abs(np.fft.rfft(_pieces(sound, frames, fps) * np.hanning(WINDOW))) ** 2 + 1e-9
    hertz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    low, middle, high = (power[:, (hertz >= a) & (hertz < b)].sum(1) for a, b in (LOW, MIDDLE, HIGH))
    open_vowel = 1 / (1 + (low / middle) ** 0.7)
    wide = np.tanh(0.45 * np.log(high / (low + middle)) + 0.9)
    opening = np.clip(loud**0.65 * (0.7 + 0.45 * open_vowel), 0, 1)
    return _inert(opening), _inert(wide * np.clip(4 * loud, 0, 1))


def _inert(values: np.ndarray) -> np.ndarray:
    return np.convolve(np.pad(values, 1, mode="edge"), INERTIA, mode="valid")


def beats(sound: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """`[frames]`, 0 to about 1: a gesture that swells and fades with each stressed syllable."""
    loud = _inert(relative(loudness(sound, frames, fps)))
    near = round(APART * fps)
    found = np.zeros(frames)
    for frame in np.argsort(-loud, kind="stable"):
        if loud[frame] < STRESSED:
            break
        if loud[frame] >= loud[max(frame - near, 0) : frame + near + 1].max():
            away = np.abs(np.arange(frames) - frame) / (BEAT * fps / 2)
            found = np.maximum(found, min(loud[frame], 1.0) * np.where(away < 1, 0.5 + 0.5 * np.cos(np.pi * away), 0))
    return found


def activity(sound: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """`[frames]`, 0 to 1: whether somebody speaks around then."""
    reach = round(0.5 * fps)
    loud = np.clip(2 * relative(loudness(sound, frames, fps)), 0, 1)
    return np.convolve(np.pad(loud, reach, mode="edge"), np.hanning(2 * reach + 1) / reach, mode="valid")


def perform(sound: np.ndarray, frames: int, fps: float, expression: float, body: float, seed: int) -> list[Pose]:
    """The moments of a clip.

    Args:
        sound: mono at 16 kHz.
        expression, body: ω_l and ω_b in [0, 1] (§3.4): how much mouth and brows, and how much head, shoulders and
            background move.
    """
    random = np.random.default_rng((31, seed))
    time = np.arange(frames) / fps

    def sway(fastest: float = 1.1) -> np.ndarray:
        """Smooth and without end, about -1 to 1."""
        rates, phases, sizes = random.uniform(0.35, fastest, 3), random.uniform(0, 2 * np.pi, 3), random.uniform(0.5, 1, 3)
        waves = sizes[:, None] * np.sin(2 * np.pi * rates[:, None] * time + phases[:, None])
        return waves.sum(0) / sizes.sum()

    opening, wide = mouth(sound, frames, fps)
    beat, lively = beats(sound, frames, fps), CALM + (1 - CALM) * activity(sound, frames, fps)
    face, moved = 0.35 + 0.65 * expression, 0.06 + 0.94 * body
    brows = (0.1 + 0.9 * expression) * (1.2 * beat + 0.5 * sway())
    blinks = np.zeros(frames)
    at = random.uniform(0.3, 2.5)
    while at < time[-1]:
        blinks = np.maximum(blinks, np.clip(1.4 * (1 - np.abs(time - at) / 0.13), 0, 1))
        at += random.uniform(1.2, 3.0)
    sways = moved * lively
    head_x, head_y, tilt, turn = 0.04 * sways * sway(), 0.012 * sways * sway(), 0.1 * sways * sway(), 0.22 * sways * sway()
    body_x, body_y, wall = 0.04 * sways * sway(), 0.01 * sways * sway(), 0.05 * moved * sway(0.6)
    nod, head_y, body_y = 0.16 * moved * beat, head_y + 0.02 * moved * beat, body_y + 0.008 * moved * beat
    return [
        Pose(
            mouth_open=float(face * opening[i]),
            mouth_wide=float(face * wide[i]),
            blink=float(blinks[i]),
            brows=float(brows[i]),
            head=(float(head_x[i] + 0.5 * body_x[i]), float(head_y[i] + body_y[i])),
            tilt=float(tilt[i]),
            turn=float(turn[i]),
            nod=float(nod[i]),
            body=(float(body_x[i]), float(body_y[i])),
            wall=float(wall[i]),
        )
        for i in range(frames)
    ]
