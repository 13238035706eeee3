"""Speech in: any recording to the exact stretch of mono 16 kHz samples that a clip needs.

The release loads audio with `librosa.load(sr=16000)` (mono mean, soxr_hq) and cuts it to the first
`int(frames / fps * 16000)` samples. The same here, with one difference on purpose: a recording that is
shorter than the clip is padded with silence. The release encodes the short recording as it is, and its
window map, which divides tokens by frames, then stretches the speech over the clip: the lips drift.
"""

import math
from dataclasses import dataclass
from numbers import Integral, Real

import torch

from ..errors import FantasyTalkingError, short
from ..latent_grid import MIN_FRAMES, TEMPORAL, clip_length_from, is_clip_length
from .recording import Recording

SAMPLE_RATE = 16000
"""Hz, what Wav2Vec2 hears (§3.2)."""
MIN_SPEECH_SECONDS = 0.025
"""One receptive field of Wav2Vec2: less than this is no token at all."""
SILENCE = 1 / 32768
"""The smallest step of 16-bit audio: what stays below it is the noise of a codec."""
MAX_PEAK = 100.0
"""40 dB over full scale: what is louder is no sound, but integers in the place of numbers up to 1, or damage."""
CANCELLED = 0.01
"""Of the loudest channel's loudness: quieter, the mean of the channels is no speech; one of 64 alone still gives 1/64."""
MIN_FPS, MAX_FPS = 1.0, 120.0
TRAINED_FRAMES, TRAINED_FPS = 81, 23.0
"""Frames of the clips that Wan2.1 and FantasyTalking were trained on, and how many a second (§4.1)."""
MAX_FRAMES = 1_000_001
MAX_SECONDS = 4 * 3600
"""A clip longer than this is a mistake, and its tokens would fill the memory."""
MAX_ADDED_SECONDS = 30.0
"""More silence than this behind the speech, and more than speech, is a mistake in the length."""


def check_start(sound: Recording, start_time: float) -> None:
    """Refuse a clip that begins outside of the recording or too close to its end; `start_time` in seconds."""
    if not isinstance(start_time, Real) or not 0 <= start_time < sound.seconds:  # NaN too
        raise FantasyTalkingError(
            f"start_time is {_number(start_time)} s, expected 0 or more and less than the {sound.seconds:.2f} s of the audio."
        )
    if sound.seconds - start_time < MIN_SPEECH_SECONDS:
        raise FantasyTalkingError(
            f"Only {sound.seconds - start_time:.3g} s of audio are left from start_time on, expected at least "
            f"{MIN_SPEECH_SECONDS} s: use a longer recording or an earlier start_time."
        )


def check_fps(fps: float) -> None:
    if not isinstance(fps, Real) or not MIN_FPS <= fps <= MAX_FPS:  # NaN too
        raise FantasyTalkingError(
            f"fps is {_number(fps)}, expected {MIN_FPS:g} to {MAX_FPS:g}: FantasyTalking was trained at 23 fps."
        )


def check_length(frames: int) -> None:
    """Refuse what is no clip: a length that is not 4n + 1, at least 5 and at most `MAX_FRAMES`."""
    if not isinstance(frames, Integral) or abs(frames) > MAX_FRAMES:
        raise FantasyTalkingError(
            f"length is {short(frames)}, expected a whole number from {MIN_FRAMES} to {MAX_FRAMES}, or 0 for the length of the "
            "speech."
        )
    if not is_clip_length(frames):
        above = clip_length_from(frames)
        near = f"{above - TEMPORAL} or {above}" if above > MIN_FRAMES else str(above)
        raise FantasyTalkingError(
            f"length is {frames}, expected 4n + 1 frames and at least {MIN_FRAMES} (Wan packs 4 frames into one "
            f"latent frame): use {near}, or 0 for the length of the speech."
        )


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else short(value)


def clip_frames(sound: Recording, fps: float, length: int = 0, start_time: float = 0.0) -> int:
    """Frames of the clip that begins at `start_time` (s): `length`, or with 0 as many as the speech needs.

    Raises:
        FantasyTalkingError: `fps`, `length` or `start_time` out of range, or a clip that is nearly all silence.
    """
    check_start(sound, start_time)
    check_fps(fps)
    left = seconds_left(sound, start_time)
    if length == 0:
        length = frames_for(round(left * sound.rate), sound.rate, fps)
    else:
        check_length(length)
    if length / fps - left > max(left, MAX_ADDED_SECONDS):
        raise FantasyTalkingError(
            f"The clip would last {length / fps:.0f} s ({length} frames at {fps:g} fps), but only {left:.2f} s of audio are "
            "left from start_time on: set length to 0 for the length of the speech, or use a longer recording."
        )
    if length / fps > MAX_SECONDS:
        raise FantasyTalkingError(
            f"The clip would last {length / fps / 3600:.1f} hours ({length} frames at {fps:g} fps), expected at most "
            f"{MAX_SECONDS // 3600}: make the video in parts with length and start_time."
        )
    return int(length)


def seconds_left(sound: Recording, start_time: float) -> float:
    """How much of the recording there is from the sample nearest to `start_time` on."""
    return sound.seconds - sample_at(start_time, sound.rate) / sound.rate


def sample_at(seconds: float, rate: int) -> int:
    """The sample nearest to a time: 2.01 s are 32160 samples at 16 kHz, where `int` gives 32159."""
    return round(seconds * rate)


def frames_for(samples: int, sample_rate: int, fps: float) -> int:
    """The smallest 4n + 1 (at least 5) frames that cover `samples` at `sample_rate` Hz."""
    frames = math.ceil(samples / sample_rate * fps - 1e-6)  # rounding does not make n frames n + 1
    return clip_length_from(frames)


def samples_for(frames: int, fps: float, sample_rate: int = SAMPLE_RATE) -> int:
    """How many samples `frames` last: the release's `int(frames / fps * sample_rate)`, in that order."""
    return int(frames / fps * sample_rate)


def check_samples(samples: torch.Tensor) -> None:
    """Refuse samples that are NaN, infinite or far beyond full scale."""
    low, high = (value.item() for value in samples.aminmax())
    peak = max(-low, high)
    if not math.isfinite(peak):
        raise FantasyTalkingError(
            "The audio holds NaN or infinite samples, expected numbers: the node or file it comes from is broken."
        )
    if peak > MAX_PEAK:
        raise FantasyTalkingError(
            f"The audio reaches {peak:.5g}, expected samples from -1 to 1: load the recording with Load Audio, or divide "
            "it by its full scale."
        )


@dataclass(frozen=True, eq=False)
class Stretch:
    """What is heard of a recording in a clip, and up to two seconds more on either side.

    Whole seconds keep a resampler's phase, and a second on each side its filter: what is resampled here is that of the
    whole recording, without paying for an hour of it.

    Attributes:
        samples: `[channels, N]` float32, finite, on the CPU.
        rate: Hz.
        first: the second of the recording at which the samples begin.
        start_time: the second at which the clip does.
        frames, fps: how long the clip is.
        inside: which of the samples lie in the clip; it may reach beyond the recording's end.
        mono: `[N]`, what is heard of the channels: their mean, as in the release, or one of them.
        alone: the channel that is heard alone, because the channels cancel each other out; None where it is the mean.
    """

    samples: torch.Tensor
    rate: int
    first: int
    start_time: float
    frames: int
    fps: float
    inside: slice
    mono: torch.Tensor
    alone: int | None

    @classmethod
    def of(cls, sound: Recording, frames: int, fps: float, start_time: float = 0.0) -> "Stretch":
        """The clip of `frames`, as from `clip_frames`, that begins `start_time` seconds into the recording.

        Raises:
            FantasyTalkingError: samples that are NaN, infinite or far beyond full scale.
        """
        first, last = max(0, int(start_time) - 1), math.ceil(start_time + frames / fps) + 1
        samples = sound.between(first * sound.rate, last * sound.rate)
        check_samples(samples)
        start = sample_at(start_time, sound.rate) - first * sound.rate
        inside = slice(start, start + samples_for(frames, fps, sound.rate))
        alone = _cancelled(samples[:, inside])
        mono = samples.mean(0) if alone is None else samples[alone]
        return cls(samples, sound.rate, first, start_time, frames, fps, inside, mono, alone)

    def clip(self, samples: torch.Tensor, rate: int) -> torch.Tensor:
        """`[..., N]` samples of this stretch at `rate` (Hz) and exactly as long as the clip, silent after the recording."""
        import librosa

        if rate != self.rate:
            samples = torch.from_numpy(librosa.resample(samples.numpy(), orig_sr=self.rate, target_sr=rate))
        start, count = sample_at(self.start_time, rate) - self.first * rate, samples_for(self.frames, self.fps, rate)
        piece = samples[..., start : start + count]
        return torch.nn.functional.pad(piece, (0, count - piece.shape[-1]))

    def speech(self) -> torch.Tensor:
        """`[int(frames / fps * 16000)]` float32, what Wav2Vec2 hears."""
        return self.clip(self.mono, SAMPLE_RATE)


def _cancelled(samples: torch.Tensor) -> int | None:
    """The loudest of the channels `[channels, n]`, if they cancel each other out in their mean."""
    loudness = samples.std(1, correction=0)  # and a constant is no sound
    is_lost = samples.mean(0).std(correction=0) < CANCELLED * loudness.max()
    return int(loudness.argmax()) if is_lost else None


def mono_16k(sound: Recording, frames: int, fps: float, start_time: float = 0.0) -> torch.Tensor:
    """The speech of a clip, see `Stretch`: mean of all channels, resampled to 16 kHz, exactly `frames / fps` long."""
    return Stretch.of(sound, frames, fps, start_time).speech()
