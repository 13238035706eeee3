"""The mouth in pauses: speech, silence, speech again, with and without `ease_in_silence`."""

import numpy as np

from .. import FPS, measures
from ..studio import Studio
from ..world.performance import perform
from ..world.portrait import draw
from ..world.voices import RATE
from .people import OPENNESS, Seen, filmed, person, said, samples
from .study import Made, Study

SPOKEN = 1.5
"""Seconds of speech before a pause, and after it."""
PAUSES = (1.0, 3.0)
EDGE = 0.2
"""Seconds at a pause's ends that do not count: lips have weight, and a latent frame hears beyond its own time."""


def rows(studio: Studio, number: int) -> Made:
    found = {}
    for pause in PAUSES:
        frames = 1 + 4 * round((2 * SPOKEN + pause) * FPS / 4)
        talk = said(number, 2 * SPOKEN)
        half = round(SPOKEN * RATE)
        sound = np.concatenate([talk[:half], np.zeros(round(pause * RATE), np.float32), talk[half:], np.zeros(RATE)])
        clip = person(number, sound[: samples(frames)].astype(np.float32))
        drawn = np.stack([draw(clip.look, pose) for pose in perform(clip.speech, frames, FPS, 0.5, 0.5, number)])
        found[f"{pause:g} s: drawn, through the VAE"] = measured(
            clip, studio.through_vae(drawn.astype(np.float32) / 255), pause
        )
        for ease in (False, True):
            name = f"{pause:g} s: {'ease_in_silence' if ease else 'as published'}"
            found[name] = measured(clip, filmed(studio, clip, frames, number, ease_in_silence=ease), pause)
    return found


def measured(clip, frames: np.ndarray, pause: float) -> tuple[dict[str, float], np.ndarray]:
    seen = Seen.of(clip, frames)
    start, end = round((SPOKEN + EDGE) * FPS), round((SPOKEN + pause - EDGE) * FPS)
    silent, after = slice(start, end), slice(round((SPOKEN + pause) * FPS), None)
    steady = seen.steady()
    talk = np.r_[0 : round(SPOKEN * FPS), after.start : len(frames)]
    loud = measures.loudness(clip.speech, len(frames))
    return {
        "open in speech": float(OPENNESS * np.quantile(seen.opening[talk], 0.95)),
        "open in the pause": float(OPENNESS * seen.opening[silent].mean()),
        "lips from the shut ones": float(measures.distances(steady[silent], clip.reference, seen.places.lips).mean()),
        "identity in the pause": measures.identity_distance(steady[silent], clip.reference, seen.places),
        "identity in speech": measures.identity_distance(steady[talk], clip.reference, seen.places),
        "synchrony": seen.synchrony(clip.speech).r,
        "after the pause": measures.correlation(seen.opening[after], loud[after]),
    }, frames


STUDY = Study(
    "silence",
    "Silence",
    f"{SPOKEN:g} s of speech, a pause, {SPOKEN:g} s of speech, made at once. Open: beyond the portrait's shut lips, in "
    "thousandths of the picture, the 95 % quantile in speech and the mean in the pause. Distances in Lab, lips from the "
    "reference's, which are shut.",
    rows,
)
