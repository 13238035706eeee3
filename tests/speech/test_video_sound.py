"""The sound of a clip's video: the recording's own, or what a video file can hold of it."""

import math

import pytest
import torch

from fantasytalking_core.speech.recording import Recording
from fantasytalking_core.speech.video_sound import RATES, video_sound
from fantasytalking_core.speech.waveform import Stretch
from support.sound import noise

FPS = 23.0


def sound_of(samples: torch.Tensor, rate: int, frames: int = 17, fps: float = FPS, start_time: float = 0.0) -> Recording:
    return video_sound(Stretch.of(Recording(samples, rate), frames, fps, start_time))


def tone(hertz: float, rate: int, seconds: float = 2.0) -> torch.Tensor:
    """`[1, N]` of amplitude 0.5."""
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(int(seconds * rate), dtype=torch.float64) / rate)[None].float()


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", RATES)
def test_what_can_be_saved_is_the_recordings_own_samples(rate, channels):
    samples = noise(2.0, rate, channels)
    sound = sound_of(samples, rate, start_time=0.5)
    first = round(0.5 * rate)
    assert sound.rate == rate
    assert torch.equal(sound.samples, samples[:, first : first + int(17 / FPS * rate)])


@pytest.mark.parametrize("fps", [23.0, 23.976, 25.0])
@pytest.mark.parametrize("rate", [1000, 40000, 22049, 192000, 384000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_another_rate_becomes_48_khz_of_exactly_the_clips_length(rate, channels, fps):
    sound = sound_of(noise(3.0, rate, channels), rate, frames=33, fps=fps, start_time=0.37)
    assert sound.rate == 48000
    assert sound.samples.shape == (channels, int(33 / fps * 48000)) and sound.samples.dtype == torch.float32


@pytest.mark.parametrize("rate", [40000, 192000])
def test_at_another_rate_it_is_the_same_sound_at_the_same_time(rate):
    """A tone of 440 Hz from 1.2345 s on; left it is loud, right it is soft."""
    samples = torch.cat([tone(440, rate), 0.1 * tone(440, rate)])
    sound = sound_of(samples, rate, frames=13, start_time=1.2345)
    expected = tone(440, 48000)[:, round(1.2345 * 48000) :][:, : int(13 / FPS * 48000)]
    torch.testing.assert_close(sound.samples, torch.cat([expected, 0.1 * expected]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("channels", [3, 4, 5, 7, 8, 64])
def test_other_numbers_of_channels_become_stereo_with_the_mean_of_all_on_both_sides(channels):
    samples = noise(2.0, 44100, channels)
    sound = sound_of(samples, 44100)
    mean = sum(samples[n] for n in range(channels))[: int(17 / FPS * 44100)] / channels
    assert sound.rate == 44100
    torch.testing.assert_close(sound.samples, torch.stack([mean, mean]))


def test_speech_on_the_third_of_four_channels_is_not_lost():
    samples = torch.zeros(4, 96000)
    samples[2] = noise(2.0, 48000)[0]
    assert sound_of(samples, 48000).samples.std(1).min() == pytest.approx(samples[2].std().item() / 4, rel=0.05)


def test_of_four_channels_that_cancel_each_other_out_it_is_the_one_that_the_face_hears():
    voice = noise(2.0, 48000)
    sound = sound_of(torch.cat([0.5 * voice, -0.5 * voice, voice, -voice]), 48000)
    assert torch.equal(sound.samples, voice[:, : int(17 / FPS * 48000)].repeat(2, 1))


@pytest.mark.parametrize("rate, saved", [(44100, 44100), (40000, 48000)])
def test_after_the_recording_it_is_silent(rate, saved):
    sound = sound_of(noise(0.5, rate, 2), rate, frames=33)
    end = saved // 2
    assert sound.samples.shape[1] == int(33 / FPS * saved)
    assert sound.samples[:, end - 100 : end].std() > 0.1 and not sound.samples[:, end + 1 :].any()


@pytest.mark.parametrize("rate", [44100, 40000])
def test_the_recording_is_left_as_it_was(rate):
    samples = noise(1.0, rate, 2)
    before = samples.clone()
    sound_of(samples, rate).samples.zero_()
    assert torch.equal(samples, before)
