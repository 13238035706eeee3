"""Videos in: which frames and which sound a clip is made of."""

import struct

import numpy as np
import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.speech.waveform import Recording, mono_16k
from fantasytalking_core.training.data.clips import Ending, find_videos, read_clips
from fantasytalking_core.training.data.placement import Placement, Shape
from support import world

RATE = 16000
SMALL = Shape(frames=9, fps=23.0, width=32, height=32)


def stairs(frames: int, height: int = 32, width: int = 32) -> np.ndarray:
    """Pictures of one grey each, a step of 4 lighter than the one before."""
    return np.broadcast_to((4 * np.arange(frames))[:, None, None, None], (frames, height, width, 3)).astype(np.uint8)


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * rate)).astype(np.float32)


def clips(path, shape=SMALL) -> list:
    return list(read_clips(path, shape))


def refusal(path, shape=SMALL) -> str:
    with pytest.raises(FantasyTalkingError) as error:
        clips(path, shape)
    return str(error.value)


@pytest.mark.parametrize("fps", [25.0, 23.0, 12.0, 60.0])
def test_a_frame_is_the_nearest_in_time(tmp_path, fps):
    world.write(tmp_path / "a.mp4", stairs(60), fps, noise(60 / fps))
    found = clips(tmp_path / "a.mp4")
    sources = torch.cat([clip.sources for clip in found]).tolist()
    assert sources == [min(range(60), key=lambda n: (abs(n / fps - k / 23), n)) for k in range(len(sources))]
    grey = torch.cat([clip.frames for clip in found]).mean((1, 2, 3)) * 255
    assert torch.allclose(grey, 4 * torch.tensor(sources).float(), atol=2)


def test_clips_follow_each_other_and_the_rest_is_told(tmp_path):
    world.write(tmp_path / "a.mp4", stairs(25), 23.0, noise(25 / 23))
    ending = Ending()
    found = list(read_clips(tmp_path / "a.mp4", SMALL, ending))
    assert [clip.start for clip in found] == [0, 9 / 23]
    assert [clip.sources.tolist() for clip in found] == [list(range(9)), list(range(9, 18))]
    assert (ending.frames, ending.start, ending.rest) == (25, 18 / 23, 7 / 23)


def test_a_video_of_exactly_one_clip_is_one_clip(tmp_path):
    world.write(tmp_path / "a.mp4", stairs(9), 23.0, noise(9 / 23))
    ending = Ending()
    assert len(list(read_clips(tmp_path / "a.mp4", SMALL, ending))) == 1 and ending.rest == 0


def test_no_more_is_read_than_the_clip_needs(tmp_path):
    world.write(tmp_path / "a.mp4", stairs(60), 23.0, noise(60 / 23))
    ending = Ending()
    next(read_clips(tmp_path / "a.mp4", SMALL, ending))
    assert ending.frames <= 11


def test_the_sound_of_a_clip_is_that_of_its_time(tmp_path):
    """As the nodes cut it out of the whole recording, to the sample, in stereo and at another rate."""
    sound = np.stack([noise(4, 44100, seed) for seed in (1, 2)])
    world.write(tmp_path / "a.mov", stairs(92) // 4, 23.0, sound, 44100, codec="pcm_s16le")
    whole = Recording(torch.from_numpy((sound * 32768).round() / 32768), 44100)
    found = clips(tmp_path / "a.mov")
    assert len(found) == 10
    for clip in found:
        assert torch.allclose(clip.speech, mono_16k(whole, 9, 23.0, clip.start), atol=1e-4)


def test_a_click_is_heard_when_it_was_made_whatever_the_format(tmp_path):
    sound = np.zeros(2 * RATE, np.float32)
    sound[round(1.3 * RATE) :][:40] = 0.8
    for name, codec in (("a.mp4", "aac"), ("a.mkv", "aac"), ("a.mkv", "flac")):
        world.write(tmp_path / name, stairs(46), 23.0, sound, codec=codec)
        speech = torch.cat([clip.speech for clip in clips(tmp_path / name)])
        assert abs(int(speech.abs().argmax()) - (1.3 * RATE + 20)) < 0.005 * RATE, (name, codec)


def test_sound_that_begins_late_is_late(tmp_path):
    sound = np.zeros(RATE, np.float32)
    sound[round(0.2 * RATE) :][:40] = 0.8
    world.write(tmp_path / "a.mov", stairs(46), 23.0, sound, codec="pcm_s16le", sound_at=0.7)
    speech = torch.cat([clip.speech for clip in clips(tmp_path / "a.mov")])
    assert abs(int(speech.abs().argmax()) - (0.9 * RATE + 20)) < 0.005 * RATE


def test_sound_that_ends_early_goes_on_in_silence(tmp_path):
    world.write(tmp_path / "a.mp4", stairs(46), 23.0, noise(0.5))
    found = clips(tmp_path / "a.mp4")
    assert [clip.silent for clip in found] == [False, False, True, True, True]
    assert all(clip.speech.shape == (int(9 / 23 * RATE),) for clip in found)


def test_pictures_are_covered_and_cut_in_the_middle():
    wide = Placement.centred((128, 64), 1.0, 32, 32)  # half as large: 64 × 32, of which 16 go on both sides
    assert wide.points(torch.tensor([[32.0, 0.0], [96.0, 64.0], [64.0, 16.0]])).tolist() == [[0, 0], [32, 32], [16, 8]]
    high = Placement.centred((30, 90), 1.0, 60, 60)  # twice as large: 60 × 180
    assert high.points(torch.tensor([[0.0, 30.0], [30.0, 60.0]])).tolist() == [[0, 0], [60, 60]]


def test_wide_pixels_are_shown_as_wide_as_they_are():
    place = Placement.centred((64, 64), 2.0, 64, 64)  # shown as 128 × 64
    assert place.points(torch.tensor([[16.0, 8.0], [48.0, 64.0]])).tolist() == [[0, 8], [64, 64]]


def test_a_place_comes_as_near_to_the_middle_as_the_pictures_allow():
    wide = Placement.centred((128, 64), 1.0, 32, 32)  # scaled to 64 × 32, of which columns 16 to 48 are shown
    for x, expected in ((16, 16), (20, 20), (31, 31), (90, 32), (-90, 0)):
        assert wide.around(x, 99).points(torch.tensor([0.0, 0.0])).tolist() == [-expected, 0]
    high = Placement.centred((30, 90), 1.0, 60, 60)  # scaled to 60 × 180, of which rows 60 to 120 are shown
    assert high.around(0, 0).points(torch.tensor([0.0, 0.0])).tolist() == [0, -30]


def test_pictures_of_which_nearly_nothing_would_be_left_are_refused():
    with pytest.raises(FantasyTalkingError, match="4000×64 pixels, too narrow for clips of 32×32"):
        Placement.centred((4000, 64), 1.0, 32, 32)


def test_a_clip_around_another_place_shows_what_is_there(tmp_path):
    pictures = np.zeros((9, 64, 128, 3), np.uint8)
    pictures[:, 16:32, 100:116] = 255
    world.write(tmp_path / "a.mp4", pictures, 23.0, noise(9 / 23))
    (clip,) = clips(tmp_path / "a.mp4")
    assert clip.frames.max() < 0.1  # columns 32 to 96 of the video are in the middle
    x, y = clip.placement.points(torch.tensor([108.0, 24.0])).tolist()
    bright = (clip.around(x, y).frames[4].mean(-1) > 0.5).nonzero()
    assert bright.amin(0).tolist() == [8, 18] and bright.amax(0).tolist() == [
        15,
        25,
    ]  # of 32 rows and the last 32 of 64 columns


def test_the_picture_goes_where_its_points_go(tmp_path):
    pictures = np.zeros((9, 64, 128, 3), np.uint8)
    pictures[:, 16:32, 48:64] = 255
    world.write(tmp_path / "a.mp4", pictures, 23.0, noise(9 / 23))
    (clip,) = clips(tmp_path / "a.mp4")
    bright = (clip.frames[4].mean(-1) > 0.5).nonzero()
    corners = clip.placement.points(torch.tensor([[48.0, 16.0], [64.0, 32.0]]))
    assert bright.amin(0).tolist() == [8, 8] and bright.amax(0).tolist() == [15, 15]  # rows, columns
    assert corners.tolist() == [[8, 8], [16, 16]]


def test_a_video_that_a_telephone_has_laid_down_is_set_upright(tmp_path):
    pictures = np.zeros((9, 64, 32, 3), np.uint8)
    pictures[:, :16, :16] = 255  # at the left of the top
    path = tmp_path / "a.mp4"
    world.write(path, pictures, 23.0, noise(9 / 23))
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)  # a quarter clockwise
    path.write_bytes(data)
    (clip,) = clips(path, Shape(9, 23.0, 64, 32))
    bright = (clip.frames[4].mean(-1) > 0.5).nonzero()
    assert bright.amin(0).tolist() == [0, 48] and bright.amax(0).tolist() == [15, 63]  # at the right of the top


def test_what_is_wrong_with_a_video_is_said(tmp_path):
    world.write(tmp_path / "mute.mp4", stairs(9), 23.0)
    assert refusal(tmp_path / "mute.mp4") == "has no sound: expected a video with speech."
    world.write(tmp_path / "whole.mp4", stairs(46), 23.0, noise(2))
    (tmp_path / "half.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:6000])
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "empty.mp4").touch()
    for name in ("half.mp4", "text.mp4", "empty.mp4"):
        assert "can't be read (Invalid data" in refusal(tmp_path / name) or "End of file" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    "wrong", [{"frames": 80}, {"frames": 1}, {"fps": 0.0}, {"fps": float("nan")}, {"width": 500}, {"height": 0}]
)
def test_a_shape_that_the_model_can_not_have_is_refused(wrong):
    with pytest.raises(FantasyTalkingError, match=next(iter(wrong))):
        Shape(**wrong)


def test_videos_are_found_in_folders_and_in_order(tmp_path):
    for name in ("b.MP4", "a/c.mkv", "a.mov", "notes.txt", ".hidden.mp4", "side.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert {path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path)} == {"a/c.mkv", "a.mov", "b.MP4"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(FantasyTalkingError, match="no videos"):
        find_videos(tmp_path / "empty")
    with pytest.raises(FantasyTalkingError, match="no folder"):
        find_videos(tmp_path / "elsewhere")
