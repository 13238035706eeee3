"""The picture of a speech: what is measured for it, and where it is drawn."""

import math

import pytest
import torch
from PIL import ImageColor

from fantasytalking_core.plotting import GAP, LEFT, PAPER
from fantasytalking_core.speech import plot as speech_plot
from fantasytalking_core.speech.plot import HEAD, INNER, WAVE
from fantasytalking_core.speech.speech import BINS, Sound, Speech


def sine(frames: int, amplitude: float, rate: int = 640) -> torch.Tensor:
    """100 Hz at 16 kHz, 4 periods in every frame of 640 samples: 25 fps."""
    return amplitude * torch.sin(2 * math.pi * 100 * torch.arange(frames * rate) / 16000)


def noise(samples: int, seed: int = 1) -> torch.Tensor:
    return 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def quiet(frames: int, fps: float = 23.0, recorded: float | None = None, **changes) -> Speech:
    """A silent speech of about 50 tokens a second; `changes` are (first, last) frames that are loud."""
    envelope, loudness = torch.zeros(frames * BINS, 2), torch.zeros(frames)
    for first, last in changes.get("loud", []):
        envelope[first * BINS : last * BINS] = torch.tensor([-0.5, 0.5])
        loudness[first:last] = 0.3
    sound = Sound(envelope, loudness, frames / fps if recorded is None else recorded)
    return Speech(torch.zeros(int(frames / fps * 50) - 1, 1), frames, fps, sound)


def colour(plot: torch.Tensor, x: float, y: float) -> tuple[int, ...]:
    return tuple((plot[0, round(y), round(x)] * 255).round().int().tolist())


# ----------------------------------------------------------------------------------------------- what is measured


def test_loudness_is_the_root_mean_square_of_every_frame():
    """Of a sine of amplitude 0.5: 0.5 / √2; of the silence after it: 0."""
    samples = torch.cat([sine(3, 0.5), torch.zeros(2 * 640)])
    loudness = Sound.of(samples, 5, 5 / 25).loudness
    torch.testing.assert_close(loudness, torch.tensor([0.5 / math.sqrt(2)] * 3 + [0.0, 0.0]), atol=1e-6, rtol=0)


def test_the_envelope_holds_the_lowest_and_highest_sample_of_every_eighth_of_a_frame():
    """80 samples are half a period: the first half goes from 0 up to 0.5 and back, the second one down to −0.5."""
    envelope = Sound.of(sine(5, 0.5), 5, 0.2).envelope
    assert envelope.shape == (40, 2)
    torch.testing.assert_close(envelope[0], torch.tensor([0.0, 0.5]), atol=1e-5, rtol=0)
    torch.testing.assert_close(envelope[1], torch.tensor([-0.5, 0.0]), atol=1e-5, rtol=0)


def test_a_long_speech_is_measured_as_a_short_one():
    """2500 frames at 16 fps, 1000 samples each: more than are measured at a time."""
    samples = noise(2_500_000)
    sound = Sound.of(samples, 2500, 2500 / 16)
    torch.testing.assert_close(sound.loudness, samples.reshape(2500, 1000).square().mean(1).sqrt())
    parts = samples.reshape(2500 * 8, 125)
    assert torch.equal(sound.envelope, torch.stack([parts.amin(1), parts.amax(1)], dim=1))


@pytest.mark.parametrize("fps", [23.0, 23.976, 120.0])
def test_no_sample_is_left_out_where_a_frame_is_no_whole_number_of_samples(fps):
    samples = torch.zeros(int(81 / fps * 16000))
    for at in range(0, len(samples), 97):
        samples[at] = 0.9
        assert Sound.of(samples, 81, 1.0).envelope.max() == samples[at]
        samples[at] = 0


def test_the_outline_of_an_hour_is_small():
    """82801 frames at 23 fps: 8 · 2 + 1 numbers of 4 bytes each, 5.6 MB beside tokens of 553 MB."""
    sound = quiet(82801).sound
    assert sum(part.numel() * part.element_size() for part in (sound.envelope, sound.loudness)) == 82801 * 17 * 4


def test_what_a_latent_frame_hears_in_seconds():
    """36 tokens for 17 frames: 2.1176 tokens a frame, windows of 4 to both sides of a centre, widened by 4.

    Centres int(2.1176 · (4i − 1)) − 1 = 5, 13, 22, 30 for latent frames 1 to 4, so tokens 1–9, 9–17, 18–26, 26–34 before
    widening; latent frame 0 ends where 1 begins. Token k lasts from 0.02 k to 0.02 (k + 1) s.
    """
    heard = Speech(torch.zeros(36, 1), 17, 23.0).heard()
    tokens = torch.tensor([[0, 6], [0, 14], [5, 22], [14, 31], [22, 36]], dtype=torch.float64)
    assert torch.equal(heard, tokens / 50)


def test_when_a_latent_frame_is_shown_in_seconds():
    """The first is one video frame, the others are four."""
    shown = Speech(torch.zeros(36, 1), 17, 23.0).shown()
    frames = torch.tensor([[0, 1], [1, 5], [5, 9], [9, 13], [13, 17]], dtype=torch.float64)
    torch.testing.assert_close(shown, frames / 23)


@pytest.mark.parametrize(("recorded", "silence"), [(0.5, 17 / 23 - 0.5), (17 / 23, 0.0), (3.0, 0.0), (17 / 23 - 1e-4, 0.0)])
def test_added_silence_is_what_the_recording_lacks(recorded, silence):
    assert quiet(17, recorded=recorded).silence == pytest.approx(silence)


def test_a_speech_without_its_sound_claims_no_silence():
    assert Speech(torch.zeros(36, 1), 17, 23.0).silence == 0.0


# ---------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize(
    ("frames", "rows"),
    [
        (5, [(0, 5)]),
        (160, [(0, 160)]),
        (161, [(0, 81), (81, 162)]),
        (1381, [(0, 231), (231, 462), (462, 693), (693, 924), (924, 1155), (1155, 1386)]),
    ],
)
def test_a_row_holds_160_frames_and_a_long_clip_six_rows(frames, rows):
    assert speech_plot.rows(frames) == rows


def test_bars_lie_in_as_many_lanes_as_keep_them_apart():
    def stretches(length: float) -> torch.Tensor:
        starts = torch.arange(10.0)
        return torch.stack([starts, starts + length], dim=1)

    assert [speech_plot.lanes(stretches(length)) for length in (0.5, 2.0, 2.1, 4.5, 50.0)] == [2, 2, 3, 5, 6]


@pytest.mark.parametrize(
    ("amplitude", "decibels"), [(1.0, 0.0), (0.5 / math.sqrt(2), -9.031), (0.1, -20.0), (1e-4, -60.0), (0.0, -60.0)]
)
def test_loudness_is_drawn_in_decibels_of_full_scale(amplitude, decibels):
    assert speech_plot.decibels(torch.tensor(amplitude)).item() == pytest.approx(decibels, abs=1e-3)


@pytest.mark.parametrize(("pixels", "step"), [(130, 1), (65, 2), (15, 10), (1, 200), (0.1, 2000)])
def test_frames_are_numbered_so_that_the_numbers_have_room(pixels, step):
    assert speech_plot.label_step(pixels) == step


@pytest.mark.parametrize(("frame", "text"), [(40, "40 · 1.74 s"), (2300, "2300 · 1:40.0 min"), (2759, "2759 · 2:00.0 min")])
def test_a_frames_number_comes_with_its_time(frame, text):
    """2759 / 23 s are 1 minute and 59.96 seconds."""
    assert speech_plot.label(frame, 23.0) == text


def test_added_silence_is_shaded_from_where_the_recording_ends():
    """At 0.5 of 0.739 s, frame 11.5 of 17."""
    plot = speech_plot.plot(quiet(17, recorded=0.5))
    end, y = LEFT + INNER * 11.5 / 17, HEAD + WAVE - 2
    assert colour(plot, end - 3, y) == ImageColor.getrgb(PAPER)
    assert colour(plot, end + 3, y) == ImageColor.getrgb(GAP)


def test_the_picture_differs_just_where_the_sound_does():
    one, other = speech_plot.plot(quiet(81, loud=[(0, 10)])), speech_plot.plot(quiet(81, loud=[(0, 10), (40, 48)]))
    columns = (one != other).any(-1).any(1)[0].nonzero().flatten()
    # the sound in frames 40 to 47 is heard in latent frames 10 (37 to 40) to 13 (49 to 52), which are no silence any more
    assert LEFT + INNER * 37 / 81 - 2 <= columns.min() and columns.max() <= LEFT + INNER * 53 / 81 + 2
    assert len(columns) > INNER * 7 / 81


def test_an_hour_is_a_picture_of_bounded_size():
    assert speech_plot.plot(quiet(82801, loud=[(5000, 9000)])).shape[1:] == (HEAD + 6 * 246, 1280, 3)


def test_a_speech_without_its_sound_is_drawn_with_what_its_frames_hear():
    known, unknown = quiet(81), Speech(torch.zeros(175, 1), 81, 23.0)
    one, other = speech_plot.plot(known), speech_plot.plot(unknown)
    lanes = slice(HEAD + WAVE + 8, HEAD + WAVE + 8 + 40)
    assert torch.equal(one[:, lanes], other[:, lanes]) and not torch.equal(one, other)
