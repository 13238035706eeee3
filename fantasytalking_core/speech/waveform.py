"""Speech in: any recording to the exact stretch of mono 16 kHz samples that a clip needs.

The release loads audio with `librosa.load(sr=16000)` (mono mean, soxr_hq) and cuts it to the first
`int(frames / fps * 16000)` samples. The same here, with one difference on purpose: a recording that is
shorter than the clip is padded with silence. The release encodes the short recording as it is, and its
window map, which divides tokens by frames, then stretches the speech over the clip: the lips drift.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import torch

from ..errors import FantasyTalkingError, logger
from ..latent_grid import MIN_FRAMES, TEMPORAL, clip_length_from, is_clip_length

SAMPLE_RATE = 16000
"""Hz, what Wav2Vec2 hears (§3.2)."""
MIN_SPEECH_SECONDS = 0.025
"""One receptive field of Wav2Vec2: less than this is no token at all."""
MIN_RATE = 1000
"""Hz; below it the sample rate is a mistake (44.1 for 44100), not a recording of speech."""
MAX_CHANNELS = 64
"""More are samples in the place of channels."""
SILENCE = 1 / 32768
"""The smallest step of 16-bit audio: what stays below it is the noise of a codec."""
MIN_FPS, MAX_FPS = 1.0, 120.0
TRAINED_FRAMES = 81
"""Frames of the clips that Wan2.1 and FantasyTalking were trained on."""

MAX_SECONDS = 4 * 3600
"""A clip longer than this is a mistake, and its tokens would fill the memory."""

_INTEGERS = {torch.uint8: (128, 128), torch.int16: (0, 2**15), torch.int32: (0, 2**31)}
"""Zero and full scale of the integer formats in which sound files are stored."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording.

    Attributes:
        samples: `[channels, N]`, float32 in [−1, 1], on the CPU.
        rate: Hz.
    """

    samples: torch.Tensor
    rate: int

    @property
    def seconds(self) -> float:
        return self.samples.shape[-1] / self.rate


def recording(audio: object) -> Recording:
    """The recording in a host's AUDIO, `{"waveform": [1, channels, N], "sample_rate": Hz}`.

    Other packs are less exact than the host: integer samples, a missing batch or channel axis, another device
    and sample rates that are no `int` are taken for what they mean.

    Raises:
        FantasyTalkingError: no audio, a batch of several clips, empty, or no recording at all.
    """
    if audio is None:
        raise FantasyTalkingError(
            "There is no audio: the video or node that it comes from has no sound. Wire a recording of speech."
        )
    if not isinstance(audio, Mapping) or not {"waveform", "sample_rate"} <= set(audio):
        raise FantasyTalkingError(
            f"audio is {_kind(audio)}, expected the host's AUDIO with waveform and sample_rate: wire an AUDIO output."
        )
    waveform, rate = audio["waveform"], audio["sample_rate"]
    with suppress(TypeError, ValueError, OverflowError):
        rate = int(rate)
    if not isinstance(rate, int) or rate < MIN_RATE:
        raise FantasyTalkingError(
            f"audio has a sample rate of {rate}, expected {MIN_RATE} Hz or more: load the recording again."
        )
    if not isinstance(waveform, torch.Tensor) or not (waveform.is_floating_point() or waveform.dtype in _INTEGERS):
        found = waveform.dtype if isinstance(waveform, torch.Tensor) else _kind(waveform)
        raise FantasyTalkingError(f"audio holds {found}, expected a tensor of float samples: wire a host AUDIO output.")
    shape = list(waveform.shape)
    if waveform.ndim < 3:
        waveform = waveform.reshape((1,) * (3 - waveform.ndim) + waveform.shape)
    if waveform.shape[-1] == 0:
        raise FantasyTalkingError("The audio is empty: expected a recording of speech, check the file that was loaded.")
    if waveform.ndim != 3 or 0 in shape or waveform.shape[1] > MAX_CHANNELS:
        raise FantasyTalkingError(f"audio has shape {shape}, expected [1, channels, samples]: wire a host AUDIO output.")
    if waveform.shape[0] != 1:
        raise FantasyTalkingError(
            f"audio is a batch of {waveform.shape[0]} clips, expected one: encode each clip with its own node."
        )
    samples = waveform[0].detach().cpu()
    zero, scale = _INTEGERS.get(samples.dtype, (0, 1))
    samples = samples.float() if scale == 1 else (samples.float() - zero) / scale
    return Recording(samples, rate)


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "a dict of " + (", ".join(map(str, value)) or "nothing")
    return f"of type {type(value).__name__}"


def check_start(sound: Recording, start_time: float) -> None:
    """Refuse a clip that begins outside of the recording or too close to its end; `start_time` in seconds."""
    if not 0 <= start_time < sound.seconds:  # NaN too
        raise FantasyTalkingError(
            f"start_time is {start_time:g} s, expected 0 or more and less than the {sound.seconds:.2f} s of the audio."
        )
    if sound.seconds - start_time < MIN_SPEECH_SECONDS:
        raise FantasyTalkingError(
            f"Only {sound.seconds - start_time:.2g} s of audio are left from start_time on, expected at least "
            f"{MIN_SPEECH_SECONDS} s: use a longer recording or an earlier start_time."
        )


def check_fps(fps: float) -> None:
    if not MIN_FPS <= fps <= MAX_FPS:  # NaN too
        raise FantasyTalkingError(f"fps is {fps:g}, expected {MIN_FPS:g} to {MAX_FPS:g}: FantasyTalking was trained at 23 fps.")


def check_length(frames: int) -> None:
    """Refuse what is no clip: a length that is not 4n + 1 and at least 5."""
    if not is_clip_length(frames):
        above = clip_length_from(frames)
        near = f"{above - TEMPORAL} or {above}" if above > MIN_FRAMES else str(above)
        raise FantasyTalkingError(
            f"length is {frames}, expected 4n + 1 frames and at least {MIN_FRAMES} (Wan packs 4 frames into one "
            f"latent frame): use {near}, or 0 for the length of the speech."
        )


def clip_frames(sound: Recording, fps: float, length: int = 0, start_time: float = 0.0) -> int:
    """Frames of the clip that begins at `start_time` (s): `length`, or with 0 as many as the speech needs.

    Says in the log what to do about a clip that is longer than those of the training.

    Raises:
        FantasyTalkingError: `fps`, `length` or `start_time` out of range.
    """
    check_start(sound, start_time)
    check_fps(fps)
    if length == 0:
        length = frames_for(sound.samples.shape[-1] - sample_at(start_time, sound.rate), sound.rate, fps)
    check_length(length)
    if length / fps > MAX_SECONDS:
        raise FantasyTalkingError(
            f"The clip would last {length / fps / 3600:.1f} hours ({length} frames at {fps:g} fps), expected at most "
            f"{MAX_SECONDS // 3600}: make the video in parts with length and start_time."
        )
    if length > TRAINED_FRAMES:
        logger.warning(
            "FantasyTalking: the clip has %d frames (%.1f s), the model was trained on %d. Put the host's Wan Context "
            "Windows on the model, or make the video in parts with length and start_time.",
            length,
            length / fps,
            TRAINED_FRAMES,
        )
    return length


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


def cut(waveform: torch.Tensor, start: int, samples: int) -> torch.Tensor:
    """`samples` of `[..., N]` from sample `start` on, padded with silence."""
    piece = waveform[..., start : start + samples]
    return torch.nn.functional.pad(piece, (0, samples - piece.shape[-1]))


def clip_sound(sound: Recording, frames: int, fps: float, start_time: float = 0.0) -> Recording:
    """The sound of a clip at the recording's own rate and channels, exactly `frames / fps` long."""
    start, samples = sample_at(start_time, sound.rate), samples_for(frames, fps, sound.rate)
    return Recording(cut(sound.samples, start, samples), sound.rate)


def mono_16k(sound: Recording, frames: int, fps: float, start_time: float = 0.0) -> torch.Tensor:
    """The speech of a clip: mean of all channels, resampled to 16 kHz, exactly `frames / fps` long.

    Args:
        frames, fps: the clip, as from `clip_frames`.
        start_time: seconds into the recording.

    Returns:
        `[int(frames / fps * 16000)]`, float32, silence where the recording has ended.

    Raises:
        FantasyTalkingError: NaN or infinite samples.
    """
    import librosa

    # Whole seconds keep the resampler's phase, and a second on each side its filter: the result is that of
    # resampling the whole recording, without paying for an hour of it.
    first = max(0, int(start_time) - 1)
    last = math.ceil(start_time + frames / fps) + 1
    mono = sound.samples[:, first * sound.rate : last * sound.rate].mean(0)
    if not torch.isfinite(mono).all():
        raise FantasyTalkingError(
            "The audio holds NaN or infinite samples, expected numbers: the node or file it comes from is broken."
        )
    if sound.rate != SAMPLE_RATE:
        mono = torch.from_numpy(librosa.resample(mono.numpy(), orig_sr=sound.rate, target_sr=SAMPLE_RATE))
    speech = cut(mono, sample_at(start_time, SAMPLE_RATE) - first * SAMPLE_RATE, samples_for(frames, fps))
    if speech.abs().max() < SILENCE:
        logger.warning("FantasyTalking: the audio is silent, the face will not speak. Check it and start_time.")
    return speech
