"""The talking world: what is drawn is what is known of it, and it moves with the speech."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from drawn_world.world import performance, videos, voices
from drawn_world.world.figure import Pose, joints, landmarks, landmarks3d
from drawn_world.world.look import MOUTH_INSIDE, Look
from drawn_world.world.portrait import draw, draw_all, person_mask
from fantasytalking_core.training.data.clips import Ending, read_clips
from fantasytalking_core.training.data.lip_mask import OUTER_LIPS
from fantasytalking_core.training.data.prepare import PrepareSettings
from fantasytalking_core.training.data.side_file import SideFile

RATE = voices.RATE


def tone(*parts: tuple[float, float], seconds: float = 1.0) -> np.ndarray:
    """A sound of (hertz, size) pairs."""
    time = np.arange(round(seconds * RATE)) / RATE
    return sum(size * np.sin(2 * np.pi * hertz * time) for hertz, size in parts).astype(np.float32)


def inside(picture: np.ndarray) -> np.ndarray:
    """Which pixels show the inside of a mouth."""
    return np.abs(picture.astype(int) - MOUTH_INSIDE).sum(-1) < 40


def test_every_number_has_a_look_of_its_own():
    pictures = [draw(Look.random(number), Pose()) for number in range(20)]
    assert all(np.abs(a.astype(int) - b).mean() > 5 for i, a in enumerate(pictures) for b in pictures[:i])
    assert Look.random(3) == Look.random(3)


def test_only_an_open_mouth_has_the_colour_of_its_inside():
    for number in range(100):
        look = Look.random(number)
        assert inside(draw(look, Pose())).sum() == 0
        assert inside(draw(look, Pose(mouth_open=1.0))).sum() > 60


@pytest.mark.parametrize("number", range(5))
def test_the_mouth_opens_and_spreads_where_its_landmarks_are(number):
    look = Look.random(number)
    counts = [inside(draw(look, Pose(mouth_open=part, head=(0.03, -0.02), tilt=0.1))).sum() for part in (0, 0.25, 0.5, 0.75, 1)]
    assert counts == sorted(counts) and len(set(counts)) == 5
    pose = Pose(mouth_open=0.8, mouth_wide=0.5, head=(-0.03, 0.02), tilt=-0.1)
    shown, lips = np.argwhere(inside(draw(look, pose))) + 0.5, landmarks(look, pose)[list(OUTER_LIPS)]
    assert np.allclose(shown.mean(0)[::-1], lips.mean(0), atol=0.6)
    assert (shown.min(0) > lips.min(0)[::-1] - 1).all() and (shown.max(0) < lips.max(0)[::-1] + 1).all()
    widths = [np.ptp(landmarks(look, replace(pose, mouth_wide=wide))[list(OUTER_LIPS), 0]) for wide in (-1, 0, 1)]
    assert widths == sorted(widths)


def test_the_person_is_what_does_not_change_with_the_wall():
    look, pose = Look.random(1), Pose(head=(0.05, 0.0), body=(0.02, 0.0))
    mask, other = person_mask(look, pose), replace(look, wall=(0, 255, 0), shapes=())
    same = (draw(replace(look, shapes=()), pose) == draw(other, pose)).all(-1)
    assert 0.3 < mask.mean() < 0.8 and (same & ~mask).sum() == 0 and (mask & ~same).sum() < 0.06 * mask.size
    for x, y, score in joints(look, pose)[[0, 14, 15]]:
        assert score == 1 and mask[int(y), int(x)]


def test_the_mouth_follows_loudness():
    envelope = np.repeat((0.0, 1.0, 0.2, 0.0), RATE // 2)
    opening, _ = performance.mouth(tone((700, 0.5), seconds=2.0) * envelope, 46, 23.0)
    closed, loud, quiet = opening[2:9].mean(), opening[14:21].mean(), opening[25:32].mean()
    assert closed < 0.02 and 0.1 < quiet < 0.6 * loud and loud > 0.6 and opening[37:44].mean() < 0.02


def test_vowels_differ():
    """Formants of "ah", "ee" and "oo"."""
    vowels = {"ah": ((800, 1.0), (1200, 0.6)), "ee": ((280, 0.7), (2300, 0.6)), "oo": ((320, 1.0), (700, 0.1))}
    found = {
        name: tuple(part[5:-5].mean() for part in performance.mouth(tone(*parts), 23, 23.0)) for name, parts in vowels.items()
    }
    assert found["ah"][0] > found["ee"][0] + 0.1 and found["ah"][0] > found["oo"][0] + 0.1
    assert found["ee"][1] > found["oo"][1] + 0.5


def test_coefficients_set_how_much_it_moves():
    sound = tone((700, 0.5), seconds=4.0) * np.repeat((0, 1) * 8, RATE // 4)

    def spread(expression: float, body: float) -> tuple[float, float]:
        poses = performance.perform(sound, 92, 23.0, expression, body, seed=4)
        return np.std([pose.mouth_open for pose in poses]), np.std([pose.head[0] for pose in poses])

    (low, still), (high, _), (_, moved) = spread(0.1, 0.1), spread(1.0, 0.1), spread(0.1, 1.0)
    assert high > 1.8 * low and moved > 4 * still


def test_stressed_syllables_come_with_a_nod_and_raised_brows():
    """Two of three syllables are loud."""
    sizes = np.zeros(4 * RATE)
    for second, size in ((0.5, 1.0), (1.5, 0.3), (2.5, 0.9)):
        sizes[round((second - 0.1) * RATE) : round((second + 0.1) * RATE)] = size
    sound = tone((700, 0.5), seconds=4.0) * sizes
    poses = performance.perform(sound, 92, 23.0, expression=1.0, body=1.0, seed=4)
    nod, brows = (np.array([getattr(pose, name) for pose in poses]) for name in ("nod", "brows"))
    assert [frame for frame in range(1, 91) if nod[frame - 1] < nod[frame] >= nod[frame + 1]] == [11, 57]
    assert nod[34] == nod[80] == 0 and nod[11] > nod[57] > 0.8 * nod[11]
    assert np.corrcoef(nod, brows)[0, 1] > 0.5
    still = performance.perform(np.zeros(4 * RATE), 92, 23.0, expression=1.0, body=1.0, seed=4)
    assert max(pose.mouth_open for pose in still) == max(pose.nod for pose in still) == 0
    calm, lively = (np.ptp([pose.turn for pose in each]) for each in (still, poses))
    assert 0.3 * lively < calm < lively


def test_a_turned_head_shows_its_side_and_keeps_its_shape():
    look = Look.random(2)
    ahead, turned = (landmarks3d(look, Pose(turn=turn, nod=nod)) for turn, nod in ((0, 0), (0.2, 0.1)))
    nose, cheek = 4, OUTER_LIPS[0]
    assert turned[nose, 0] - ahead[nose, 0] > turned[cheek, 0] - ahead[cheek, 0] > 2
    assert np.allclose(*(np.linalg.norm(each[nose] - each, axis=1) for each in (ahead, turned)), atol=1e-3)
    assert (draw(look, Pose(turn=0.2)) != draw(look, Pose())).any()


def test_two_people_stand_side_by_side_before_one_wall():
    looks, poses = [Look.random(1), Look.random(2)], [Pose(), Pose(mouth_open=1.0)]
    wide, one, other = draw_all(looks, poses), draw(looks[0], poses[0]), draw(replace(looks[1], wall=looks[0].wall), poses[1])
    assert wide.shape == (96, 192, 3)
    assert (wide[:, :90] == one[:, :90]).mean() > 0.9 and (wide[:, 102:] == other[:, 6:]).mean() > 0.9
    assert inside(wide[:, :96]).sum() == 0 < inside(wide[:, 96:]).sum()


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs the program espeak-ng")
def test_whoever_pauses_is_silent_for_long():
    def longest(pausing: bool) -> list[float]:
        loud = [performance.loudness(voices.speech("train", number, 4.3, pausing), 99, 23.0) > 1e-4 for number in range(8)]
        return [max(map(len, "".join("01"[int(on)] for on in each).split("1"))) / 23 for each in loud]

    chatty, pausing = longest(False), longest(True)
    assert max(chatty) < 1 and sum(each > 0.8 for each in pausing) >= 4 and max(pausing) > 1.5


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs the program espeak-ng")
def test_what_is_tested_with_was_never_said_in_training():
    assert not set(voices.SENTENCES["train"]) & set(voices.SENTENCES["test"])
    assert not {name.split("+")[1] for name in voices.VOICES["train"]} & {name.split("+")[1] for name in voices.VOICES["test"]}
    sound = voices.speech("test", 0, 2.0)
    assert sound.shape == (2 * RATE,) and 0.5 < np.abs(sound).max() <= 0.91
    assert np.array_equal(sound, voices.speech("test", 0, 2.0))


def test_files_are_what_prepare_reads(monkeypatch, tmp_path):
    sound = tone((700, 0.5), seconds=5.0) * np.repeat((0, 1, 0, 1, 1), RATE)
    monkeypatch.setattr(videos, "speech", lambda split, number, seconds, pausing: sound[: round(seconds * RATE)])
    videos._make(tmp_path, "test", 1, 3)
    path = videos.video_path(tmp_path, 3)
    side = SideFile.beside(path)
    clips = list(read_clips(path, PrepareSettings(frames=33, fps=23.0, width=96, height=96), Ending()))
    assert len(clips) == 3
    take, read = videos.take("test", 3), videos.read(tmp_path)
    for number, clip in enumerate(clips):
        frames = slice(33 * number, 33 * number + 33)
        drawn = np.stack([draw(take.look, pose) for pose in take.poses[frames]])
        assert np.abs(clip.frames.numpy() * 255 - drawn).mean() < 2
        assert np.allclose(side.face_track(clip).lips, read.landmarks[0, frames][:, list(OUTER_LIPS)], atol=1e-4)
        heard = torch.tensor(read.sounds[0])[round(number * 33 / 23 * RATE) :][: len(clip.speech)]
        assert (clip.speech[: len(heard)] - heard).abs().mean() < 0.02
    opening = [pose.mouth_open for pose in take.poses]
    assert np.corrcoef(opening, performance.loudness(read.sounds[0], 99, 23.0))[0, 1] > 0.8
