"""What is told of a clip's sound, and what is as it should be."""

import math

import pytest
import torch

from fantasytalking_core.speech.notices import clipped, notices, onset
from fantasytalking_core.speech.recording import Recording
from fantasytalking_core.speech.waveform import Stretch
from support.reference import pcm
from support.sound import noise

FPS = 23.0


def told(samples: torch.Tensor, rate: int = 16000, frames: int = 81, fps: float = FPS, start_time: float = 0.0) -> list[str]:
    return notices(Stretch.of(Recording(samples, rate), frames, fps, start_time))


def late(seconds: float, rate: int = 16000, total: float = 4.0) -> torch.Tensor:
    """`[1, N]`: silence, then somebody speaks."""
    samples = noise(total, rate)
    samples[:, : round(seconds * rate)] = 0
    return samples


@pytest.mark.parametrize("name", ["pcm16_16k", "pcm16_16k_quiet"])
def test_of_speech_nothing_is_told(name):
    samples = pcm(name)
    assert told(samples, frames=17) == []


def test_nothing_is_told_of_silence_behind_the_speech():
    assert told(noise(0.5, 16000)) == []


@pytest.mark.parametrize("fps", [23.0, 24.0, 25.0, 21.0])
def test_nothing_is_told_of_a_rate_close_to_that_of_the_training(fps):
    assert told(noise(4.0, 16000), fps=fps) == []


@pytest.mark.parametrize(("fps", "how"), [(30.0, "30% too fast"), (16.0, "30% too slowly"), (60.0, "161% too fast")])
def test_another_rate_than_in_the_training_is_told_with_what_comes_of_it(fps, how):
    (line,) = told(noise(12.0, 16000), fps=fps)
    assert line.startswith(f"The model was trained at 23 fps: at {fps:g} people move {how}. Set fps to 23,")


# -------------------------------------------------------------------------------------------------------- silence

SILENT = "In this clip the audio is silent, the face will not speak: check it and start_time."


@pytest.mark.parametrize(
    "samples",
    [torch.zeros(1, 64000), noise(4.0, 16000) * 1e-6, torch.full((2, 64000), 0.25), torch.zeros(2, 400)],
    ids=["zeros", "codec_noise", "constant", "padded"],
)
def test_silence_is_told(samples):
    assert told(samples) == [SILENT]


def test_silence_in_the_clip_is_told_even_if_others_speak_later():
    assert told(late(5.0, total=10.0), frames=17) == [SILENT]
    assert told(late(5.0, total=10.0), frames=17, start_time=5.0) == []


# ------------------------------------------------------------------------------------------- channels that cancel


def test_channels_that_cancel_each_other_out_are_told_with_the_one_that_is_heard():
    voice = noise(4.0, 44100)
    assert told(torch.cat([-0.5 * voice, 0.5 * voice]), 44100) == [
        "The channels of the audio cancel each other out, so channel 1 alone is heard: invert one of them in the recording, "
        "or the video is silent on a single loudspeaker."
    ]
    (line,) = told(torch.cat([-0.5 * voice, voice, -0.5 * voice]), 44100)
    assert "channel 2 alone is heard" in line


def test_silent_channels_do_not_cancel_each_other_out():
    assert told(torch.zeros(2, 64000)) == [SILENT]


# ------------------------------------------------------------------------------------------------------- clipping


def sine(amplitude: float, seconds: float = 4.0, rate: int = 16000) -> torch.Tensor:
    """`[1, N]`, 100 Hz."""
    return amplitude * torch.sin(2 * math.pi * 100 * torch.arange(int(seconds * rate)) / rate)[None]


def test_the_share_of_samples_in_overloads():
    """Of 1000 samples: five in a row count, two in a row and one do not; of the two channels the worse one counts."""
    samples = torch.full((2, 1000), 0.2)
    samples[1, 100:105] = samples[1, 300:302] = samples[1, 999] = 1.0
    samples[0, 0:3] = -1.0
    assert clipped(samples) == 0.005
    samples[1, 997:] = -1.5
    assert clipped(samples) == 0.008


def test_a_recording_of_hours_is_looked_at_in_pieces():
    samples = torch.zeros(1, 3 * 2**20 + 7)
    samples[:, -4:] = samples[:, 5:9] = 1.0
    assert clipped(samples) == 8 / (3 * 2**20 + 7)


@pytest.mark.parametrize("samples", [torch.ones(1, 1), torch.ones(1, 2)], ids=["one", "two"])
def test_fewer_samples_than_an_overload_are_none(samples):
    assert clipped(samples) == 0


def test_a_clipped_recording_is_told_with_how_much_of_it_is():
    """A sine of amplitude 2 is beyond 1 from 30° to 150°, in samples 14 to 66 of the 80 of half a period: 53 / 80."""
    assert told(sine(2.0).clamp(-1, 1)) == [
        "The audio is clipped: 66.2 % of its samples reach full scale, the voice is distorted. Use a recording at a lower "
        "level."
    ]
    (line,) = told(sine(2.0))  # numbers may be larger than full scale, the sound in the video may not
    assert line.startswith("The audio is clipped: 66.2 %")


def test_a_recording_in_16_bit_is_clipped_at_its_largest_number():
    assert told((sine(2.0) * 32767).clamp(-32768, 32767).to(torch.int16))[0].startswith("The audio is clipped: 66.2 %")


def test_a_normalised_recording_is_not_clipped():
    assert told(sine(1.0)) == []
    assert told(noise(4.0, 16000) / noise(4.0, 16000).abs().max()) == []


def test_one_plosive_is_not_told():
    """3 ms of 3.52 s, 48 of 56347 samples."""
    samples = noise(4.0, 16000)
    samples[:, 8000:8048] = 1.0
    assert told(samples) == []


# --------------------------------------------------------------------------------------- long before the first word


@pytest.mark.parametrize("rate", [1000, 16000, 44100])
@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 2.3])
def test_the_onset_is_where_somebody_begins_to_speak(rate, seconds):
    assert onset(late(seconds, rate)[0], rate) == pytest.approx(seconds, abs=0.02)


def test_the_noise_of_a_room_is_not_speech():
    """40 dB below the voice, on a constant."""
    samples = late(2.0)[0] + 0.01 * noise(4.0, 16000, 2)[0] + 0.05
    assert onset(samples, 16000) == pytest.approx(2.0, abs=0.02)


def test_a_quiet_first_word_is_speech():
    """20 dB below the loudest."""
    samples = late(2.0)[0]
    samples[8000:16000] = 0.1 * noise(0.5, 16000, 3)[0]
    assert onset(samples, 16000) == pytest.approx(0.5, abs=0.02)


def test_silence_has_no_onset():
    assert onset(torch.zeros(16000), 16000) is None


def test_a_long_silence_before_the_first_word_is_told_with_the_start_time_that_skips_it():
    """A tenth of a second before the speech, counted from the recording's start."""
    assert told(late(2.0)) == [
        "The speech begins after 2.0 s, until then the face keeps still: to begin with the speech, set start_time to 1.90."
    ]
    assert told(late(12.0, total=16.0), start_time=10.0)[0].endswith("set start_time to 11.90.")
    assert told(late(12.0, total=16.0), start_time=11.9) == []


def test_a_second_before_the_first_word_is_a_breath():
    assert told(late(0.98)) == []


def test_everything_that_is_wrong_is_told():
    samples = torch.cat([late(2.0, total=9.0).sign(), -late(2.0, total=9.0).sign()])
    assert [line.split()[:2] for line in told(samples, frames=201)] == [
        ["The", "channels"],
        ["The", "audio"],
        ["The", "speech"],
    ]
