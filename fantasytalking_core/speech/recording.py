"""A host's AUDIO, read as what it means: other packs are less exact than the host, and some read a file only now."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import torch

from ..errors import FantasyTalkingError, first_line, short

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Hz; below, the sample rate is a mistake (44.1 for 44100), above, no converter records."""
MAX_CHANNELS = 64
"""More are samples in the place of channels."""

FORMATS = {
    **dict.fromkeys((torch.float16, torch.bfloat16, torch.float32, torch.float64), (0, 1)),
    torch.uint8: (128, 2**7),
    torch.int16: (0, 2**15),
    torch.int32: (0, 2**31),
}
"""Zero and full scale of the formats in which sound is stored."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording, as it came: what is used of it is converted when it is cut out.

    Attributes:
        samples: `[channels, N]`, of one of `FORMATS`, on any device.
        rate: Hz.
    """

    samples: torch.Tensor
    rate: int

    @property
    def seconds(self) -> float:
        return self.samples.shape[-1] / self.rate

    def between(self, start: int, stop: int) -> torch.Tensor:
        """The samples from one to another, as far as there are any: `[channels, n]` float32 on the CPU, full scale is 1."""
        zero, scale = FORMATS[self.samples.dtype]
        piece = self.samples[:, start:stop].detach().to("cpu", torch.float32)
        return piece if scale == 1 else (piece - zero) / scale

    @classmethod
    def of(cls, audio: object) -> "Recording":
        """The recording in a host's AUDIO, `{"waveform": [1, channels, N], "sample_rate": Hz}`.

        Integer samples, a missing batch or channel axis, another device and sample rates that are no `int` are taken
        for what they mean.

        Raises:
            FantasyTalkingError: no audio, one that can't be read, a batch of several clips, empty, or no recording at all.
        """
        waveform, rate = _content(audio)
        return cls(_channels(waveform), _hertz(rate))


def _content(audio: object) -> tuple[object, object]:
    if audio is None:
        raise FantasyTalkingError(
            "There is no audio: the video or node that it comes from has no sound. Wire a recording of speech."
        )
    found, kind = [], f"of type {type(audio).__name__}"
    if isinstance(audio, Mapping):
        try:
            keys = list(audio)
            found = [audio[key] for key in ("waveform", "sample_rate") if key in keys]
        except Exception as error:  # of any type: VideoHelperSuite's audio runs ffmpeg when it is asked
            raise FantasyTalkingError(
                f"The audio can't be read ({first_line(error)}): the video that it comes from has no sound, or its file is "
                "damaged. Wire a recording of speech."
            ) from error
        kind = f"a dict of {short(', '.join(map(short, keys[:9])) or 'nothing')}"
    if len(found) != 2:
        raise FantasyTalkingError(
            f"audio is {kind}, expected the host's AUDIO with waveform and sample_rate: wire an AUDIO output."
        )
    return found[0], found[1]


def _hertz(rate: object) -> int:
    hertz = 0
    with suppress(Exception):  # a foreign object's own
        hertz = int(rate)  # type: ignore[call-overload]
    if not MIN_RATE <= hertz <= MAX_RATE:
        raise FantasyTalkingError(
            f"audio has a sample rate of {short(rate)}, expected {MIN_RATE} to {MAX_RATE} Hz: load the recording again."
        )
    return hertz


def _channels(waveform: object) -> torch.Tensor:
    """`[channels, N]`, not yet converted."""
    if not isinstance(waveform, torch.Tensor) or not _is_plain(waveform):
        kind = f"of type {type(waveform).__name__}"
        if isinstance(waveform, torch.Tensor):
            kind = f"a {'nested' if waveform.is_nested else waveform.layout} tensor of {waveform.dtype} on {waveform.device}"
        raise FantasyTalkingError(
            f"The waveform of audio is {kind.replace('torch.', '')}, expected a plain tensor of float samples: wire a host "
            "AUDIO output."
        )
    shape = list(waveform.shape)
    if shape and shape[-1] == 0:
        raise FantasyTalkingError("The audio is empty: expected a recording of speech, check the file that was loaded.")
    if not 1 <= len(shape) <= 3 or 0 in shape or (len(shape) > 1 and shape[-2] > MAX_CHANNELS):
        raise FantasyTalkingError(f"audio has shape {shape}, expected [1, channels, samples]: wire a host AUDIO output.")
    if len(shape) == 3 and shape[0] != 1:
        raise FantasyTalkingError(f"audio is a batch of {shape[0]} clips, expected one: encode each clip with its own node.")
    return waveform.reshape([1, *shape][-2:])


def _is_plain(waveform: torch.Tensor) -> bool:
    """Whether a tensor has samples in its memory, as numbers of a known scale."""
    odd = waveform.is_nested or waveform.is_meta or waveform.layout is not torch.strided
    return not odd and waveform.dtype in FORMATS
