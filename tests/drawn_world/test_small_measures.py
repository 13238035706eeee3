"""What the evaluation of the small models measures, on drawn clips of which everything is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from drawn_world import FPS, FRAMES, SIZE, measures
from drawn_world.world.figure import Pose, landmarks
from drawn_world.world.look import Look
from drawn_world.world.performance import RATE, perform
from drawn_world.world.portrait import draw, person_mask


def drawn(look: Look, poses: list[Pose]) -> np.ndarray:
    return np.stack([draw(look, pose) for pose in poses]) / 255


def places(look: Look, pose: Pose = Pose()) -> measures.Places:
    return measures.Places.of(look, landmarks(look, pose))


def syllables(seed: int) -> np.ndarray:
    """Noise, as loud as syllables are."""
    random = np.random.default_rng(seed)
    samples = int((FRAMES + 16) / FPS * RATE)
    steps = np.repeat(random.uniform(0, 1, samples // 2000 + 1) ** 2, 2000)[:samples]
    return ndimage.gaussian_filter1d(steps, 400) * random.normal(0, 0.2, samples)


@pytest.fixture(scope="module", params=[3, 8, 14])
def talk(request) -> tuple[Look, np.ndarray, list[Pose], np.ndarray]:
    """A look, its speech, its poses and its frames, in lively motion."""
    look, sound = Look.random(request.param), syllables(request.param)
    poses = perform(sound, FRAMES, FPS, expression=0.8, body=0.8, seed=request.param)
    return look, sound, poses, drawn(look, poses)


@pytest.mark.parametrize("reference", ["first", "widest"])
@pytest.mark.parametrize("blur", [0.0, 0.8])
def test_the_opening_of_the_mouth_is_read_from_the_picture(talk, blur, reference):
    look, _, poses, frames = talk
    truth = np.array([pose.mouth_open for pose in poses])
    at = 0 if reference == "first" else int(truth.argmax())
    soft = ndimage.gaussian_filter(frames, (0, blur, blur, 0))
    found = measures.mouth_opening(soft, soft[at], places(look, poses[at]))
    assert measures.correlation(found, truth) > 0.95


def test_a_closed_mouth_is_not_open():
    look = Look.random(5)
    closed, wide = drawn(look, [Pose(), Pose(mouth_open=1.0)])
    found = measures.mouth_opening(np.stack([closed, wide]), closed, places(look))
    assert found[0] < 0.1 * found[1]


def test_the_lips_are_in_synchrony_with_their_own_speech_only(talk):
    look, sound, poses, frames = talk
    opening = measures.mouth_opening(frames, frames[0], places(look, poses[0]))
    own = measures.synchrony(opening, measures.loudness(sound, FRAMES))
    others = [measures.synchrony(opening, measures.loudness(syllables(100 + seed), FRAMES)).r for seed in range(20)]
    assert own.r > 0.85 and own.lag == 0
    assert abs(np.mean(others)) < 0.2


@pytest.mark.parametrize("late", [-5, -1, 3, 7])
def test_lips_that_come_late_are_found_to_be_late(late):
    loud = measures.loudness(syllables(1), FRAMES + 16)
    found = measures.synchrony(loud[8 : 8 + FRAMES], loud[8 + late : 8 + late + FRAMES])
    assert (found.lag, round(found.best, 6)) == (late, 1.0)


def test_what_does_not_change_is_in_synchrony_with_nothing():
    assert measures.synchrony(np.full(FRAMES, 0.3), measures.loudness(syllables(1), FRAMES)).r == 0


@pytest.mark.parametrize("x, y", [(1.0, 0.0), (-2.0, 0.0), (0.5, 1.0)])
def test_a_person_who_moves_by_known_pixels_moves_by_these(x, y):
    look, shift = Look.random(6), (x / SIZE, y / SIZE)
    frames = drawn(look, [Pose(), Pose(head=shift, body=shift)])
    found = measures.flow(frames)[0][places(look).face].mean(0)
    assert found == pytest.approx((x, y), abs=0.15)


@pytest.mark.parametrize("seed", [5, 7, 10])
def test_subject_and_background_are_told_apart(seed):
    look = Look.random(seed)
    person = person_mask(look, Pose())
    shift = (1.0 / SIZE, 0.0)
    subject, still = measures.motion(drawn(look, [Pose(), Pose(head=shift, body=shift)]), person)
    calm, wall = measures.motion(drawn(look, [Pose(), Pose(wall=1.5 / SIZE)]), person)
    assert subject > 2 * still and wall > 2 * calm


@pytest.mark.parametrize("seed", [3, 8, 14])
def test_a_head_is_held_still(seed):
    look = Look.random(seed)
    poses = [Pose(), *(Pose(head=(0.05 * x, 0.02 * x), tilt=0.12 * x, mouth_open=abs(x)) for x in (0.3, 1.0, 0.2, -0.7))]
    frames, where = drawn(look, poses), places(look)
    steady = measures.steadied(frames, frames[0], where.face)
    upper = where.face & ~where.mouth
    before, after = (np.abs(each - frames[0])[:, upper].mean() for each in (frames, steady))
    assert after < 0.3 * before


def test_expression_is_what_moves_within_the_head(talk):
    """Of a head that stays in the picture's plane: what a turn or a nod does to its picture is held still in part only."""
    look, sound, _, _ = talk
    amounts, of_body = {}, {}
    for expression, body in ((0.1, 0.5), (0.5, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0)):
        poses = [replace(pose, turn=0, nod=0) for pose in perform(sound, FRAMES, FPS, expression, body, seed=2)]
        frames = drawn(look, poses)
        where = places(look, poses[0])
        steady = measures.steadied(frames, frames[0], where.face)
        amounts[expression, body] = measures.expression_motion(steady, where.face)
        if expression == 0.5:
            of_body[body] = measures.motion(frames, where.person)[0]
    assert amounts[0.1, 0.5] < amounts[0.5, 0.5] < amounts[1.0, 0.5]
    assert of_body[0.0] < of_body[0.5] < of_body[1.0]
    by_body = abs(amounts[0.5, 1.0] - amounts[0.5, 0.0])
    assert by_body < amounts[1.0, 0.5] - amounts[0.1, 0.5]


def test_the_same_picture_is_the_same_person():
    look = Look.random(4)
    frame = drawn(look, [Pose()])
    assert measures.identity_distance(frame, frame[0], places(look)) == 0


def test_another_person_is_farther_than_any_pose_of_the_same(talk):
    look, _, poses, frames = talk
    where = places(look, poses[0])
    same = measures.identity_distance(measures.steadied(frames, frames[0], where.face), frames[0], where)
    for seed in range(200, 206):
        others = drawn(Look.random(seed), poses[::8])
        assert measures.identity_distance(measures.steadied(others, frames[0], where.face), frames[0], where) > 2 * same
