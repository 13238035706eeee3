"""Real voices, where a person brings them: `evaluate small --speech FOLDER`. None is kept in the repository."""

from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np

from fantasytalking_core.errors import FantasyTalkingError

from .. import LONG_FRAMES, measures
from ..studio import Studio
from ..world.voices import RATE
from .people import Seen, filmed, person, samples
from .study import Made, Study

KINDS = ("*.wav", "*.flac", "*.mp3", "*.ogg")


def study(folder: Path) -> Study:
    """Of the recordings in a folder: each drives one person.

    Raises:
        FantasyTalkingError: there is none.
    """
    files = sorted(path for kind in KINDS for path in folder.rglob(kind))
    if not files:
        raise FantasyTalkingError(f"There is no recording in '{folder}': expected {', '.join(KINDS)}.")
    return Study(
        "voices", "Real voices", f"{len(files)} recordings, the first {LONG_FRAMES} frames of each.", rows(files), len(files)
    )


def rows(files: list[Path]) -> Callable[[Studio, int], Made]:
    def of(studio: Studio, number: int) -> Made:
        sound, _ = librosa.load(files[number], sr=RATE, mono=True)
        sound, _ = librosa.effects.trim(sound, top_db=40)
        clip = person(number, np.pad(sound, (0, samples(LONG_FRAMES)))[: samples(LONG_FRAMES)].astype(np.float32))
        frames = filmed(studio, clip, LONG_FRAMES, number)
        seen = Seen.of(clip, frames)
        row = {"with its speech": seen.synchrony(clip.speech).r}
        if len(files) > 1:
            other, _ = librosa.load(files[number - 1], sr=RATE, mono=True)
            loud = measures.loudness(np.pad(other, (0, samples(LONG_FRAMES))), LONG_FRAMES)
            row["with another"] = measures.correlation(seen.opening, loud)
        return {"real voices": (row, frames)}

    return of
