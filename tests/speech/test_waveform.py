"""Any recording to the exact stretch of mono 16 kHz samples that a clip needs, and to the sound of its video."""

import math
from fractions import Fraction

import librosa
import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.speech import waveform
from fantasytalking_core.speech.waveform import Recording
from support.reference import numbers, pcm, tensors
from support.sound import noise

FPS = 23.0


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


def clip_frames(samples: torch.Tensor, fps: float = FPS, length: int = 0, start_time: float = 0.0) -> int:
    """Of a recording at 16 kHz."""
    return waveform.clip_frames(Recording(samples, 16000), fps, length, start_time)


# ------------------------------------------------------------------------------------------------ mono and 16 kHz


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_mono_is_the_mean_of_all_channels(channels):
    samples = noise(1.0, 16000, channels)
    mono = waveform.mono_16k(Recording(samples, 16000), 17, FPS)
    assert difference(mono, sum(samples[n] for n in range(channels))[:11826] / channels) < 1e-6


def test_resampling_is_the_releases():
    """librosa.load of the 44.1 kHz stereo file: 0.9 s, 14400 samples."""
    recorded = tensors("audio/waves")["stereo44_as_16k_mono"]
    ours = waveform.mono_16k(Recording(pcm("pcm16_44k_stereo"), 44100), 17, FPS)
    assert difference(ours, recorded[:11826]) < 1e-5


@pytest.mark.parametrize("start", [0.0, 0.29, 1.0, 3.123456, 4.999])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 47999, 48000, 96000])
def test_a_stretch_is_that_of_the_whole_recording_resampled(rate, start):
    samples = noise(8.0, rate)
    whole = torch.from_numpy(librosa.resample(samples[0].numpy(), orig_sr=rate, target_sr=16000))
    ours = waveform.mono_16k(Recording(samples, rate), 33, FPS, start)
    first = round(start * 16000)
    assert difference(ours, whole[first : first + 22956]) < 5e-6


def test_only_the_seconds_around_the_clip_are_resampled(monkeypatch):
    """A clip of 0.7 s in an hour must not cost an hour."""
    resampled = []
    resample = librosa.resample
    monkeypatch.setattr(librosa, "resample", lambda y, **rates: resampled.append(len(y)) or resample(y, **rates))
    waveform.mono_16k(Recording(torch.zeros(1, 3600 * 8000).fill_(0.1), 8000), 17, FPS, 1800.5)
    assert len(resampled) == 1 and resampled[0] <= 4 * 8000


# -------------------------------------------------------------------------------------------------- exact lengths


@pytest.mark.parametrize("fps", [23.0, 25.0, 29.97, 24.0, 30.0, 12.5])
@pytest.mark.parametrize("frames", [5, 17, 81])
def test_the_speech_spans_exactly_the_clip(frames, fps):
    mono = waveform.mono_16k(Recording(noise(8.0, 44100, 2), 44100), frames, fps)
    assert mono.shape == (int(frames / fps * 16000),)


@pytest.mark.parametrize("case", numbers("audio/features")["cases"][:8], ids=lambda case: case["name"])
def test_the_number_of_samples_is_the_releases(case):
    assert waveform.samples_for(case["num_frames"], case["fps"]) == case["samples_used"]


def test_a_short_recording_is_padded_with_silence_never_stretched():
    """0.5 s of speech in a clip of 17 frames, 11826 samples."""
    samples = noise(0.5, 16000)
    mono = waveform.mono_16k(Recording(samples, 16000), 17, FPS)
    assert torch.equal(mono[:8000], samples[0])
    assert mono.shape == (11826,) and not mono[8000:].any()


def test_the_clip_begins_at_start_time():
    samples = noise(4.0, 16000)
    mono = waveform.mono_16k(Recording(samples, 16000), 17, FPS, start_time=1.25)
    assert torch.equal(mono, samples[0, 20000:31826])


def test_start_time_means_the_nearest_sample():
    """2.01 · 16000 is 32159.999… in floating point."""
    samples = noise(3.0, 16000)
    assert waveform.mono_16k(Recording(samples, 16000), 5, FPS, start_time=2.01)[0] == samples[0, 32160]


@pytest.mark.parametrize(
    "seconds, fps, frames",
    [
        (0.03, 23.0, 5),  # 1 frame, but 5 are the shortest clip
        (5 / 23, 23.0, 5),
        (0.25, 23.0, 9),  # 5.75 frames
        (81 / 23, 23.0, 81),  # exactly 81
        (3.53, 23.0, 85),  # 81.19
        (10.0, 25.0, 253),  # 250
        (1.0, 30.0, 33),  # 30
        (60.0, 23.0, 1381),  # 1380
        (3600.0, 23.0, 82801),  # 82800
    ],
)
def test_length_0_is_the_smallest_4n_plus_1_that_covers_the_speech(seconds, fps, frames):
    assert waveform.frames_for(int(seconds * 48000), 48000, fps) == frames


@pytest.mark.parametrize("fps", [23.0, 23.976, 25.0, 29.97])
@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
def test_a_recording_cut_to_a_clip_has_that_clips_length(rate, fps):
    """The AUDIO output, wired into another Encode Speech, gives the same clip again."""
    for frames in range(5, 1000, 4):
        cut = waveform.samples_for(frames, fps, rate)
        assert waveform.frames_for(cut, rate, fps) == frames
        beyond = math.floor(frames / Fraction(str(fps)) * rate) + 1
        assert waveform.frames_for(beyond, rate, fps) == frames + 4


def test_length_0_counts_from_start_time():
    """2 s from 1.5 s on are 0.5 s: 11.5 frames, so 13."""
    assert clip_frames(noise(2.0, 16000), start_time=1.5) == 13


# ------------------------------------------------------------------------------------------------------ bad input

SPEECH = noise(1.0, 16000)
BAD_SOUND = {
    "one_sample": (SPEECH[:, :1], "Only 6.*e-05 s of audio are left .* at least 0.025 s: use a longer recording"),
    "nan": (SPEECH.clone().index_fill_(1, torch.tensor([500]), math.nan), "holds NaN or infinite samples, expected numbers"),
    "infinite": (SPEECH.clone().index_fill_(1, torch.tensor([500]), -math.inf), "holds NaN or infinite samples"),
    "one_channel_nan": (torch.cat([SPEECH, SPEECH * math.nan]), "holds NaN or infinite samples"),
    "float64_beyond_float32": (SPEECH.double() * 1e300, "holds NaN or infinite samples"),
    "integers_as_floats": (
        SPEECH / SPEECH.max() * 32767,
        "The audio reaches [0-9]{5}, expected samples from -1 to 1: load the",
    ),
    "damaged": (SPEECH.clone().index_fill_(1, torch.tensor([500]), -3e38), r"reaches 3e\+38, expected samples from -1 to 1"),
}
BAD_SETTINGS = {
    "start_negative": ({"start_time": -0.5}, "start_time is -0.5 s, expected 0 or more and less than the 1.00 s"),
    "start_at_the_end": ({"start_time": 1.0}, "start_time is 1 s, expected 0 or more and less than the 1.00 s"),
    "start_past_the_end": ({"start_time": 7.5}, "start_time is 7.5 s, expected 0 or more and less than the 1.00 s"),
    "start_nan": ({"start_time": math.nan}, "start_time is nan s, expected"),
    "start_infinite": ({"start_time": -math.inf}, "start_time is -inf s, expected"),
    "start_huge": ({"start_time": 10**400}, "start_time is 1.{0,79} s, expected 0 or more and less than the 1.00 s"),
    "start_none": ({"start_time": None}, "start_time is None s, expected"),
    "start_too_late": ({"start_time": 0.99}, "Only 0.01 s of audio are left .* or an earlier start_time"),
    "fps_0": ({"fps": 0.0}, "fps is 0, expected 1 to 120"),
    "fps_negative": ({"fps": -23.0}, "fps is -23, expected 1 to 120"),
    "fps_huge": ({"fps": 1e6}, r"fps is 1e\+06, expected 1 to 120"),
    "fps_nan": ({"fps": math.nan}, "fps is nan, expected 1 to 120"),
    "fps_infinite": ({"fps": math.inf}, "fps is inf, expected 1 to 120"),
    "fps_in_words": ({"fps": "23"}, "fps is 23, expected 1 to 120"),
    "fps_0_with_length": ({"fps": 0.0, "length": 17}, "fps is 0, expected 1 to 120"),
    "length_6": ({"length": 6}, r"length is 6, expected 4n \+ 1 frames .*: use 5 or 9, or 0"),
    "length_80": ({"length": 80}, "length is 80, .*: use 77 or 81, or 0 for the length of the speech"),
    "length_1": ({"length": 1}, "length is 1, .* at least 5 .*: use 5, or 0"),
    "length_huge": ({"length": 10**400 + 1}, r"length is 1.{0,79}, expected a whole number from 5 to 1000001, or 0 for"),
    "length_hugely_negative": ({"length": -(10**400)}, "length is -1.{0,79}, expected a whole number from 5 to 1000001"),
    "length_nan": ({"length": math.nan}, "length is nan, expected a whole number from 5 to 1000001"),
    "length_none": ({"length": None}, "length is None, expected a whole number from 5 to 1000001"),
    "length_negative": ({"length": -3}, "length is -3, .* at least 5 .*: use 5, or 0"),
}


@pytest.mark.parametrize("samples, message", BAD_SOUND.values(), ids=BAD_SOUND)
def test_a_recording_that_cannot_be_encoded_is_refused(samples, message):
    with pytest.raises(FantasyTalkingError, match=message):
        waveform.mono_16k(Recording(samples, 16000), clip_frames(samples, length=17), FPS)


@pytest.mark.parametrize("settings, message", BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_settings_that_make_no_clip_are_refused(settings, message):
    with pytest.raises(FantasyTalkingError, match=message):
        clip_frames(SPEECH, **settings)


def test_nan_outside_of_the_clip_does_not_matter():
    samples = noise(10.0, 16000)
    damaged = samples.clone().index_fill_(1, torch.tensor([9 * 16000]), math.nan)
    heard, expected = (waveform.mono_16k(Recording(of, 16000), 17, FPS) for of in (damaged, samples))
    assert torch.equal(heard, expected)


@pytest.mark.parametrize(("hours", "length", "fps"), [(12.1, 1_000_001, 23.0), (4.1, 0, 120.0), (28, 100_001, 1.0)])
def test_a_clip_of_many_hours_is_refused_before_it_fills_the_memory(hours, length, fps):
    samples = torch.tensor(0.1).expand(1, int(hours * 3600 * 16000))
    with pytest.raises(FantasyTalkingError, match=r"The clip would last \d+\.\d hours .*expected at most 4: make the video"):
        clip_frames(samples, fps, length)


@pytest.mark.parametrize(
    ("seconds", "start_time", "length", "accepted"),
    [
        (2.0, 0.0, 733, True),  # 31.87 s, of which 29.87 are silence
        (2.0, 0.0, 737, False),  # 32.04 s, of which 30.04 are
        (40.0, 0.0, 1837, True),  # 79.87 s, half of it speech
        (40.0, 0.0, 1841, False),  # 80.04 s, more than half silence
        (40.0, 38.0, 733, True),  # 2 s are left
        (40.0, 38.0, 737, False),
        (2.0, 0.0, 1_000_001, False),
    ],
)
def test_more_than_30_s_of_silence_behind_less_speech_is_a_mistake_in_the_length(seconds, start_time, length, accepted):
    samples = noise(seconds, 16000)
    if accepted:
        assert clip_frames(samples, length=length, start_time=start_time) == length
        return
    left = seconds - start_time
    message = rf"would last {length / 23:.0f} s \({length} frames at 23 fps\), but only {left:.2f} s .*set length to 0"
    with pytest.raises(FantasyTalkingError, match=message):
        clip_frames(samples, length=length, start_time=start_time)
