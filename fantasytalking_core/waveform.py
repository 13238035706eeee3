"""Speech in: any recording to the exact stretch of mono 16 kHz samples that a clip needs.

The release loads audio with `librosa.load(sr=16000)` (mono mean, soxr_hq) and cuts it to the first
`int(frames / fps * 16000)` samples. The same here, with one difference on purpose: a recording that is
shorter than the clip is padded with silence. The release encodes the short recording as it is, and its
window map, which divides tokens by frames, then stretches the speech over the clip: the lips drift.
"""

import logging
import math

import torch

from .errors import FantasyTalkingError

SAMPLE_RATE = 16000
"""Hz, what Wav2Vec2 hears (§3.2)."""
MIN_SPEECH_SECONDS = 0.025
"""One receptive field of Wav2Vec2: less than this is no token at all."""
MIN_FPS, MAX_FPS = 1.0, 120.0
MIN_FRAMES = 5
"""Two latent frames, the shortest clip that the window map knows."""


def check_clip(frames: int, fps: float) -> None:
    """Refuse what is no clip: `fps` outside 1 … 120, or a length that is not 4n + 1 and at least 5."""
    if not MIN_FPS <= fps <= MAX_FPS:  # NaN too
        raise FantasyTalkingError(
            f"fps is {fps:g}, expected {MIN_FPS:g} to {MAX_FPS:g}: FantasyTalking was trained at 23 fps."
        )
    if frames < MIN_FRAMES or frames % 4 != 1:
        below = max(MIN_FRAMES, (frames - 1) // 4 * 4 + 1)
        near = str(below) if below >= frames else f"{below} or {below + 4}"
        raise FantasyTalkingError(
            f"length is {frames} frames, expected 4n + 1 and at least {MIN_FRAMES} (Wan packs 4 frames into one "
            f"latent frame): use {near}, or 0 for the length of the speech."
        )


def check_recording(waveform: torch.Tensor, sample_rate: int, start_time: float = 0.0) -> None:
    """Refuse a recording that holds no speech to encode; warn when it is silent.

    Args:
        waveform: `[1, channels, samples]`, as in the host's AUDIO.
        sample_rate: Hz.
        start_time: seconds, where the clip begins in the recording.
    """
    if waveform.ndim != 3 or 0 in waveform.shape[:2]:
        raise FantasyTalkingError(
            f"audio has shape {list(waveform.shape)}, expected [1, channels, samples]: wire a host AUDIO output."
        )
    if waveform.shape[0] != 1:
        raise FantasyTalkingError(
            f"audio is a batch of {waveform.shape[0]} clips, expected one: encode each clip with its own node."
        )
    if sample_rate <= 0:
        raise FantasyTalkingError(f"audio has a sample rate of {sample_rate} Hz, expected a positive number.")
    seconds = waveform.shape[-1] / sample_rate
    if waveform.shape[-1] == 0:
        raise FantasyTalkingError("The audio is empty: expected a recording of speech, check the file that was loaded.")
    if not 0 <= start_time < seconds:
        raise FantasyTalkingError(
            f"start_time is {start_time:g} s, expected 0 or more and less than the {seconds:g} s of the audio."
        )
    if seconds - start_time < MIN_SPEECH_SECONDS:
        raise FantasyTalkingError(
            f"Only {seconds - start_time:g} s of audio are left from start_time on, expected at least "
            f"{MIN_SPEECH_SECONDS} s: use a longer recording or an earlier start_time."
        )
    heard = waveform[..., int(start_time * sample_rate) :]
    if not torch.isfinite(heard).all():
        raise FantasyTalkingError(
            "The audio holds NaN or infinite samples, expected numbers: the node or file it comes from is broken."
        )
    if not heard.any():
        logging.warning("FantasyTalking: the audio is silent, the face will not speak. Check it and start_time.")


def frames_for(samples: int, sample_rate: int, fps: float) -> int:
    """The smallest 4n + 1 (at least 5) frames that cover `samples` at `sample_rate` Hz."""
    frames = math.ceil(samples / sample_rate * fps - 1e-6)  # a clip of exactly n frames is not n + 1
    return max(MIN_FRAMES, math.ceil((frames - 1) / 4) * 4 + 1)


def samples_for(frames: int, fps: float, sample_rate: int = SAMPLE_RATE) -> int:
    """How many samples `frames` last: the release's `int(frames / fps * sample_rate)`, in that order."""
    return int(frames / fps * sample_rate)


def cut(waveform: torch.Tensor, start: int, samples: int) -> torch.Tensor:
    """`samples` of `[..., N]` from sample `start` on, padded with silence."""
    piece = waveform[..., start : start + samples]
    return torch.nn.functional.pad(piece, (0, samples - piece.shape[-1]))


def mono_16k(
    waveform: torch.Tensor, sample_rate: int, frames: int, fps: float, start_time: float = 0.0
) -> torch.Tensor:
    """The speech of a clip: mean of all channels, resampled to 16 kHz, exactly `frames / fps` long.

    Args:
        waveform: `[1, channels, samples]` in [−1, 1].
        sample_rate: Hz.
        frames, fps: the clip; see `check_clip`.
        start_time: seconds into the recording.

    Returns:
        `[int(frames / fps * 16000)]`, float32, silence where the recording has ended.
    """
    import librosa

    # Whole seconds keep the resampler's phase, and a second on each side its filter: the result is that of
    # resampling the whole recording, without paying for an hour of it.
    first = max(0, int(start_time) - 1)
    last = math.ceil(start_time + frames / fps) + 1
    mono = waveform[0, :, first * sample_rate : last * sample_rate].float().mean(0).cpu()
    if sample_rate != SAMPLE_RATE:
        mono = torch.from_numpy(librosa.resample(mono.numpy(), orig_sr=sample_rate, target_sr=SAMPLE_RATE))
    return cut(mono, int(start_time * SAMPLE_RATE) - first * SAMPLE_RATE, samples_for(frames, fps))
