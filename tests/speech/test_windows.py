"""The window map is the release's, to the integer (§3.2, stage 2)."""

import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.speech.speech import Speech
from fantasytalking_core.speech.windows import PADDING, latent_frames, window_map, window_ranges, window_tokens
from support.reference import numbers, tensors

PAIRS = numbers("windows/windows")["pairs"]
CLIPS = [pair for pair in PAIRS if "error" not in pair]
TOO_SHORT = [pair for pair in PAIRS if "error" in pair]
# The others are ranges that no clip gives: wholly outside of it by more than their length, or of negative length.
SPLITS = [case for case in numbers("windows/windows")["split_cases"] if case["case"] in (0, 1, 2, 3, 4, 5, 6, 8, 10)]


def clip(pair) -> str:
    return f"{pair['length']}_tokens_{pair['num_frames']}_frames"


def heard(windows: torch.Tensor) -> list[int]:
    """How many tokens each window holds."""
    return (windows != PADDING).sum(1).tolist()


@pytest.mark.parametrize("pair", CLIPS, ids=clip)
def test_ranges_are_the_releases(pair):
    assert [list(pair) for pair in window_ranges(pair["length"], pair["num_frames"])] == pair["ranges"]


@pytest.mark.parametrize("pair", [pair for pair in CLIPS if "tokens_4" in pair], ids=clip)
def test_every_place_in_every_window_holds_the_releases_token(pair):
    assert window_map(pair["length"], pair["num_frames"]).tolist() == pair["tokens_4"]


@pytest.mark.parametrize("expand", [0, 1, 4])
@pytest.mark.parametrize("pair", CLIPS, ids=clip)
def test_windows_are_as_long_and_as_full_as_the_releases(pair, expand):
    windows = window_map(pair["length"], pair["num_frames"], expand)
    assert windows.shape == (latent_frames(pair["num_frames"]), pair[f"window_{expand}"])
    assert heard(windows) == pair[f"k_lens_{expand}"]


@pytest.mark.parametrize("case", SPLITS, ids=lambda case: f"case{case['case']}")
def test_tokens_are_placed_as_the_release_slices_its_features(case):
    recorded, index = tensors("windows/split_tensor"), case["case"]
    features = recorded["src"][0]
    windows = window_tokens(case["ranges"], features.shape[0], case["expand"])
    zero_row = torch.zeros(1, features.shape[1])
    assert torch.equal(torch.cat([features, zero_row])[windows], recorded[f"case{index}.windows"][0])
    assert heard(windows) == recorded[f"case{index}.k_lens"].tolist()


@pytest.mark.parametrize("pair", TOO_SHORT, ids=clip)
def test_a_clip_of_fewer_than_5_frames_is_refused(pair):
    with pytest.raises(FantasyTalkingError, match=rf"clip of {pair['num_frames']} frames .* at least 5 frames"):
        window_map(pair["length"], pair["num_frames"])


def test_latent_frames_are_the_first_frame_and_every_four_after_it():
    assert [latent_frames(frames) for frames in (1, 5, 9, 81, 82801)] == [1, 2, 3, 21, 20701]


def test_a_windows_tokens_come_first_in_their_order_and_padding_last():
    for row in window_map(175, 81).tolist():
        count = sum(token != PADDING for token in row)
        assert row[:count] == list(range(row[0], row[0] + count))
        assert row[count:] == [PADDING] * (len(row) - count)


@pytest.mark.parametrize("fps, length", [(23.0, 17), (25.0, 15)])
def test_the_releases_frame_rates_give_its_window_lengths(fps, length):
    """8 tokens per latent frame and one more at 23 fps, 4 on each side: l′ = 17 (§3.2); 6 at 25 fps: 15."""
    tokens = (int(81 / fps * 16000) - 400) // 320 + 1
    assert window_map(tokens, 81).shape == (21, length)


def test_a_speech_knows_its_windows():
    speech = Speech(torch.zeros(36, 768), frames=17, fps=23.0)
    assert speech.latent_frames == 5
    assert torch.equal(speech.windows(), window_map(36, 17))


def test_a_clip_of_one_token_is_heard_by_the_frames_around_it():
    """120 fps: 5 frames are 666 samples and one token. Both windows are [−1, −1], widened to [−5, 3]."""
    assert window_map(1, 5).tolist() == [[0] + [PADDING] * 8] * 2


def test_a_window_without_any_token_is_all_padding():
    assert window_tokens([(-9, -5), (12, 16)], tokens=3).tolist() == [[PADDING] * 13, [PADDING] * 13]
