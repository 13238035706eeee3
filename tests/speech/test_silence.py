"""Which latent frames hear silence, by hand."""

import torch

from fantasytalking_core.speech.silence import speaking
from fantasytalking_core.speech.speaker import Speaker
from fantasytalking_core.speech.speaker import speaking as speaking_of
from fantasytalking_core.speech.speech import Sound, Speech


def loudness(frames: int, *loud: int) -> torch.Tensor:
    values = torch.full((frames,), 0.001)
    values[list(loud)] = 0.5
    return values


def heard(frames: int, *loud: int) -> Speech:
    sound = Sound(torch.zeros(frames * 8, 2), loudness(frames, *loud), frames / 23)
    return Speech(torch.randn(round(frames / 23 * 50) - 1, 8), frames, 23.0, sound)


def test_a_latent_frame_is_silent_where_none_of_eight_frames_is_loud():
    """Frames 15 and 16 are loud, 2 of 33, over 5 %: latent frame t looks at 4t − 5 … 4t + 2, so 4, 5 see them; 3 ends at 14."""
    assert speaking(loudness(33, 15, 16)).tolist() == [False] * 4 + [True, True] + [False] * 3


def test_the_first_frames_look_at_what_there_is():
    """Frame 2 is within 0 + 2, and within 4 − 5 … 6; 8 − 5 is beyond it."""
    assert speaking(loudness(17, 2)).tolist() == [True, True, False, False, False]


def test_five_percent_of_the_quantile_is_no_silence_and_less_is():
    for share, spoken in ((0.051, True), (0.049, False)):
        values = torch.ones(41)
        values[20:] = share
        assert speaking(values)[-1].item() is spoken


def test_a_clip_without_any_sound_is_silent_throughout():
    assert not speaking(torch.zeros(17)).any()


def test_a_part_of_a_clip_is_as_silent_as_it_was_in_the_whole():
    whole = heard(33, 15, 16)
    assert whole.part([0, 4, 5, 6]).speaking().tolist() == [False, True, True, False]
    assert Speech(torch.randn(35, 8), 17, 23.0).speaking().all()  # whose sound is not known


def test_everybody_has_a_silence_of_their_own():
    left, right = torch.zeros(1, 32, 32), torch.zeros(1, 32, 32)
    left[..., :8], right[..., 24:] = 1, 1
    first, second = heard(17, 2), heard(17, 14)  # heard in latent frames 0 and 1; and in 3 and 4 (12 − 5 … 14, 11 … 18)
    found = speaking_of([Speaker(first, left), Speaker(second, right)], 4, 4)
    assert found[:, 0, 0].tolist() == [1, 1, 0, 0, 0]
    assert found[:, 0, 3].tolist() == [0, 0, 0, 1, 1]
    assert found[:, 0, 1].tolist() == [1, 1, 0, 1, 1]  # where nobody is heard: while anybody speaks
    half = [Speaker(first, torch.full((1, 8, 8), 0.75)), Speaker(second, torch.full((1, 8, 8), 0.25))]
    assert speaking_of(half, 4, 4)[:, 0, 0].tolist() == [0.75, 0.75, 0, 0.25, 0.25]
    assert speaking_of([Speaker(first), Speaker(second, right)], 4, 4).flatten().tolist() == [1, 1, 0, 1, 1]


def test_where_nobody_is_silent_there_is_nothing_to_ease():
    assert speaking_of([Speaker(heard(17, *range(17)))], 4, 4) is None
