"""The sound of a clip as a video file can hold it: the host saves AAC, and dies after sampling where AAC can't."""

from .recording import Recording
from .waveform import Stretch

RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
"""Hz, all that AAC knows."""
OTHER_RATE = 48000
CHANNELS = (1, 2, 6)
"""Mono, stereo and 5.1, all that the host's SaveVideo makes a layout of."""


def video_sound(stretch: Stretch) -> Recording:
    """The clip's sound, `int(frames / fps * rate)` samples: the recording's own rate and channels where they can be saved.

    Any other rate becomes 48000 Hz. Any other number of channels becomes stereo, with what the face hears on both sides: all
    channels count alike, so that the speech is not lost, whichever it is on.
    """
    rate = stretch.rate if stretch.rate in RATES else OTHER_RATE
    if len(stretch.samples) in CHANNELS:
        return Recording(stretch.clip(stretch.samples, rate), rate)
    return Recording(stretch.clip(stretch.mono, rate).repeat(2, 1), rate)
