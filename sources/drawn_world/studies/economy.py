"""Guidance in every few steps only."""

import time

import numpy as np

from .. import FRAMES, measures
from ..studio import Studio
from .people import Seen, filmed, person, said, samples
from .study import Made, Study

STEPS = 30
"""As in the release: with few steps there is little to save."""


def rows(studio: Studio, number: int) -> Made:
    clip = person(number, said(number, samples(FRAMES) / 16000))
    found: Made = {}
    for every in (1, 2, 3):
        started = time.monotonic()
        frames = filmed(studio, clip, FRAMES, number, guidance_every=every, steps=STEPS)
        taken = time.monotonic() - started
        seen = Seen.of(clip, frames)
        first = next(iter(found.values()))[1] if found else frames
        row = {
            "seconds": taken,
            "synchrony": seen.synchrony(clip.speech).r,
            "identity distance": measures.identity_distance(seen.steady(), clip.reference, seen.places),
            "change of a pixel, of 255": float(255 * np.abs(frames - first).mean()),
        }
        found[f"guidance_every {every}"] = row, frames
    return found


STUDY = Study("economy", "Guidance in every few steps", f"{STEPS} steps, the other settings as above.", rows)
