"""The windows of a long take."""

import pytest

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.sampling.long_take import Window, plan


def test_a_clip_of_one_window_is_the_classic_one():
    assert plan(81) == [Window(0, 0, 21)]
    assert plan(17) == [Window(0, 0, 5)]


def test_windows_follow_each_other_and_the_last_is_shortened():
    """41 latent frames: 21, then 17 that follow 3 held ones and the anchor, then the 3 that are left."""
    assert plan(161) == [Window(0, 0, 21), Window(21, 3, 17), Window(38, 3, 3)]
    assert [window.latents for window in plan(161)] == [21, 21, 7]


@pytest.mark.parametrize("frames", [5, 81, 85, 149, 153, 161, 1001, 13801])
@pytest.mark.parametrize(("window", "overlap"), [(81, 12), (33, 12), (33, 0), (9, 0), (9, 3), (81, 76)])
def test_every_latent_frame_is_made_once(frames, window, overlap):
    windows = plan(frames, window, overlap)
    made = [place for each in windows for place in range(each.start, each.start + each.new)]
    assert made == list(range((frames - 1) // 4 + 1))
    assert all(each.latents <= (window - 1) // 4 + 1 and each.new > 0 for each in windows)


def test_a_window_hears_what_its_places_hear_and_the_anchor_what_the_first_frame_hears():
    assert Window(21, 3, 2).places() == [0, 18, 19, 20, 21, 22]
    assert Window(0, 0, 3).places() == [0, 1, 2]
    assert Window(21, 0, 2).places() == [0, 21, 22]


def test_an_overlap_of_part_of_a_latent_frame_counts_its_whole_ones():
    assert plan(161, 81, 15) == plan(161, 81, 12)


@pytest.mark.parametrize(
    ("window", "overlap", "said"),
    [
        (80, 12, "window is 80 frames, expected 4n"),
        (1, 0, "window is 1 frames"),
        (81, 80, "overlap is 80 frames of a window of 81, which leaves nothing new: expected 0 to 79"),
        (33, 32, "expected 0 to 31"),
        (81, -4, "overlap is -4"),
    ],
)
def test_a_plan_that_gets_nowhere_is_refused(window, overlap, said):
    with pytest.raises(FantasyTalkingError, match=said):
        plan(161, window, overlap)
