"""What an artist should know of a clip's sound before waiting for the video."""

import torch

from .waveform import SILENCE, TRAINED_FPS, Stretch

LONG_SILENCE = 1.0
"""Seconds before the first word; more is told: the face keeps still for as long, a third of a clip of 81 frames."""
MOMENT = 0.02
"""Seconds whose loudness is measured at a time: an audio token's."""
ONSET = 0.05
"""Of the loudest 20 ms: where a clip first is that loud, somebody speaks. 26 dB below vowels: above the noise of rooms."""
AHEAD = 0.1
"""Seconds before it, in which its first consonant may lie, too quiet for that."""
FULL_SCALE = 32767 / 32768
"""Three samples in a row that reach it are an overload, as level meters count; single ones are what normalising leaves."""
CLIPPED = 0.001
"""The share of samples in overloads from which on it is told: a single plosive in a clip is less."""
FAR = 0.1
"""Of the trained frame rate: at 25 fps a film moves 9 % faster than it was sampled, which nobody notices."""
CHUNK = 2**20
"""Samples that are looked at at a time."""


def notices(stretch: Stretch) -> list[str]:
    """What is worth telling, in sentences; empty for a clip that is as it should be."""
    inside = stretch.samples[:, stretch.inside]
    told = []
    if abs(times := stretch.fps / TRAINED_FPS - 1) > FAR:
        told.append(
            f"The model was trained at {TRAINED_FPS:g} fps: at {stretch.fps:g} people move {abs(times):.0%} too "
            f"{'fast' if times > 0 else 'slowly'}. Set fps to {TRAINED_FPS:g}, and interpolate frames for a smoother video."
        )
    if stretch.alone is not None:
        told.append(
            f"The channels of the audio cancel each other out, so channel {stretch.alone + 1} alone is heard: invert one of "
            "them in the recording, or the video is silent on a single loudspeaker."
        )
    if (share := clipped(inside)) > CLIPPED:
        told.append(
            f"The audio is clipped: {100 * share:.1f} % of its samples reach full scale, the voice is distorted. Use a "
            "recording at a lower level."
        )
    if (begin := onset(stretch.mono[stretch.inside], stretch.rate)) is None:
        told.append("In this clip the audio is silent, the face will not speak: check it and start_time.")
    elif begin > LONG_SILENCE:
        told.append(
            f"The speech begins after {begin:.1f} s, until then the face keeps still: to begin with the speech, set "
            f"start_time to {stretch.start_time + begin - AHEAD:.2f}."
        )
    return told


def onset(mono: torch.Tensor, rate: int) -> float | None:
    """Seconds after which somebody speaks in `[N]` samples; None in silence."""
    low, high = mono.aminmax()
    if high - low < 2 * SILENCE:  # about its mean: a constant is no sound
        return None
    size = round(MOMENT * rate)
    loudness = mono[: len(mono) // size * size].reshape(-1, size).std(1, correction=0)
    return int((loudness >= ONSET * loudness.max()).int().argmax()) * size / rate


def clipped(samples: torch.Tensor) -> float:
    """The share of `[channels, N]` samples that lie in overloads, in the channel with most of them."""
    count = torch.zeros(len(samples), dtype=torch.int64)
    for piece in samples.split(CHUNK, dim=1):
        full = piece.abs() >= FULL_SCALE
        begun = torch.nn.functional.pad(full[:, 2:] & full[:, 1:-1] & full[:, :-2], (2, 2))
        count += (begun[:, 2:] | begun[:, 1:-1] | begun[:, :-2]).sum(1)
    return int(count.max()) / samples.shape[1]
