"""The talking world: what is drawn is what is known of it, and it moves with the speech."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from drawn_world.world import performance, videos, voices
from drawn_world.world.look import MOUTH_INSIDE, Look
from drawn_world.world.portrait import Pose, draw, joints, landmarks, person_mask
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


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs the program espeak-ng")
def test_what_is_tested_with_was_never_said_in_training():
    assert not set(voices.SENTENCES["train"]) & set(voices.SENTENCES["test"])
    assert not {name.split("+")[1] for name in voices.VOICES["train"]} & {name.split("+")[1] for name in voices.VOICES["test"]}
    sound = voices.speech("test", 0, 2.0)
    assert sound.shape == (2 * RATE,) and 0.5 < np.abs(sound).max() <= 0.91
    assert np.array_equal(sound, voices.speech("test", 0, 2.0))


def test_files_are_what_prepare_reads(monkeypatch, tmp_path):
    sound = tone((700, 0.5), seconds=5.0) * np.repeat((0, 1, 0, 1, 1), RATE)
    monkeypatch.setattr(videos, "speech", lambda split, number, seconds: sound[: round(seconds * RATE)])
    videos._make(tmp_path, "test", 3)
    path = videos.video_path(tmp_path, 3)
    side = SideFile.beside(path)
    clips = list(read_clips(path, PrepareSettings(frames=33, fps=23.0, width=64, height=64), Ending()))
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
