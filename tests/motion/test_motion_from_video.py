"""How much face and body move: on synthetic clips of which the variances are known in closed form."""

import numpy as np
import pytest
import torch

from fantasytalking_core.adapter.motion import MotionRanges
from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.face.landmarks import face_landmarks
from fantasytalking_core.motion import measure, notices
from fantasytalking_core.motion.measure import body, expression
from fantasytalking_core.motion.plot import Panel, plot
from fantasytalking_core.training.data.lip_mask import OUTER_LIPS
from support import moving


def expression_of(points, **about) -> float:
    return expression(face_landmarks(moving.landmarks(points, **about))).variance


def body_of(points, **about) -> float:
    return body(moving.pose(points, **about), len(points)).variance


# ----------------------------------------------------------------------------------------------------------- the face


def test_a_still_face_has_none():
    assert expression_of(moving.talking(amplitude=0.0)) == 0


@pytest.mark.parametrize("depth", [True, False])
def test_the_variance_of_a_talking_mouth_is_its_closed_form(depth):
    assert expression_of(moving.talking(amplitude=6.0), depth=depth) == pytest.approx(moving.expression_of(6.0), rel=1e-3)


def test_twice_the_mouths_motion_is_four_times_the_variance():
    small, large = (expression_of(moving.talking(amplitude=amplitude)) for amplitude in (4.0, 8.0))
    assert large == pytest.approx(4 * small, rel=1e-3)


SWAY = np.linspace(-1, 1, 80)


def moved(points, kind: str):
    if kind == "translation":
        return points + np.stack([90 * SWAY, 40 * SWAY**2, 0 * SWAY], -1)[:, None]
    if kind == "scale":
        return (points - 300) * (1 + 0.4 * SWAY)[:, None, None] + 300
    return moving.turn(points, 0.3 * SWAY, {"nodding": 0, "turning": 1, "tilting": 2}[kind])


@pytest.mark.parametrize("kind", ["translation", "scale", "tilting", "turning", "nodding"])
def test_what_the_head_does_as_a_whole_is_no_expression(kind):
    """Up to the rounding of coordinates in pixels to 32 bit."""
    assert expression_of(moved(moving.talking(amplitude=0.0), kind)) < 1e-9


@pytest.mark.parametrize("kind", ["translation", "scale", "tilting"])
def test_without_depth_neither_is_what_happens_in_the_pictures_plane(kind):
    assert expression_of(moved(moving.talking(amplitude=0.0), kind), depth=False) < 1e-9


def test_the_outline_slides_when_the_head_turns_and_does_not_count():
    """By how much it slides within the head: turned back with the head, its places differ from frame to frame."""
    angles = 0.3 * moving.waves(80)
    points = moving.turning(angles)
    slid = moving.turn(points, -angles, 1)[:, moving.OUTLINE, :2]
    expected = slid.var(0).sum(-1).sum() / 478 / moving.EYES**2
    landmarks = face_landmarks(moving.landmarks(points))
    assert expected > 1e-4  # a tenth of what a median clip has
    assert expression(landmarks, with_outline=True).variance == pytest.approx(expected, rel=0.02)
    assert expression(landmarks).variance < 1e-9


def test_landmarks_without_depth_are_told_from_those_with_it():
    """A turn of the head counts as expression in them."""
    points = moved(moving.talking(amplitude=0.0), "turning")
    flat, deep = (face_landmarks(moving.landmarks(points, depth=depth)) for depth in (False, True))
    assert measure.is_flat(flat) and not measure.is_flat(deep)
    assert expression(flat).variance > 1e-4 and expression(deep).variance < 1e-9


def test_the_mouth_counts_no_less_without_the_outline():
    """Of MediaPipe's lips none is on the outline: the same motion, over 442 points instead of 478."""
    lips = sorted(OUTER_LIPS)
    assert not set(lips) & set(moving.OUTLINE)
    landmarks = face_landmarks(moving.landmarks(moving.talking(80, 6.0, lips)))
    found, before = (expression(landmarks, with_outline=each).variance for each in (False, True))
    assert found == pytest.approx(moving.expression_of(6.0, lips), rel=1e-3)
    assert before == pytest.approx(moving.expression_of(6.0, lips, with_outline=True), rel=1e-3)
    assert found > before


@pytest.mark.parametrize("kind", ["translation", "scale", "tilting"])
def test_a_mouth_in_a_moving_head_is_measured_as_in_a_still_one(kind):
    points = moved(moving.talking(amplitude=6.0), kind)
    assert expression_of(points) == pytest.approx(moving.expression_of(6.0), rel=1e-2)


def test_order_and_length_of_the_clip_do_not_matter():
    expected = moving.expression_of(6.0)
    shuffled = moving.talking(80)[np.random.default_rng(0).permutation(80)]
    for points in (
        shuffled,
        moving.talking(80)[::-1],
        moving.talking(40),
        moving.talking(400),
        np.tile(moving.talking(80), (3, 1, 1)),
    ):
        assert expression_of(points) == pytest.approx(expected, rel=0.01)


def test_frames_without_a_face_are_skipped():
    points = moving.talking(80)
    points[::4] += 500  # never looked at
    missing = set(range(0, 80, 4))
    kept = np.delete(moving.talking(80), sorted(missing), 0)
    measured = expression(face_landmarks(moving.landmarks(points, missing=missing)))
    assert measured.variance == pytest.approx(expression_of(kept), rel=1e-6)
    assert torch.isnan(measured.curve).nonzero().flatten().tolist() == sorted(missing)


def test_of_several_faces_the_largest_counts():
    clip = moving.landmarks(moving.talking(amplitude=6.0))
    for index, frame in enumerate(clip["frames"]):
        small = moving.face()[:, :2] * 0.3 + (0, 50 * (index % 2))
        small[moving.MOUTH] += 20 * (index % 2)
        frame.insert(0, {"landmarks_xy": small.astype(np.float32)})
    assert expression(face_landmarks(clip)).variance == pytest.approx(moving.expression_of(6.0), rel=1e-3)


def test_of_two_people_who_take_turns_in_leaning_forward_one_is_measured():
    """Each is larger than the other in half of the frames; the one is on average, and her mouth alone moves."""
    clip = moving.landmarks(moving.talking(amplitude=6.0))
    for index, frame in enumerate(clip["frames"]):
        other = moving.face()[:, :2] * (1.1 if index % 20 < 10 else 0.7) + (500, 0)
        frame.insert(index % 2, {"landmarks_xy": other.astype(np.float32)})
    clip["image_size"] = (600, 1400)
    assert expression(face_landmarks(clip)).variance == pytest.approx(moving.expression_of(6.0), rel=1e-3)


def test_the_curve_is_the_distance_from_the_mean_face():
    """Root mean square over the points: the mouth's share of the sine's height."""
    measured = expression(face_landmarks(moving.landmarks(moving.talking(80, 6.0))))
    expected = np.abs(6.0 * moving.waves(80)) / moving.EYES * moving.share() ** 0.5
    np.testing.assert_allclose(measured.curve.numpy(), expected, atol=1e-5)
    assert measured.curve.square().mean().item() == pytest.approx(measured.variance, rel=1e-6)


# ----------------------------------------------------------------------------------------------------------- the body


def test_a_still_body_has_none():
    assert body_of(moving.waving(amplitude=0.0)) == 0


def test_the_variance_of_waving_hands_is_its_closed_form():
    assert body_of(moving.waving(amplitude=30.0)) == pytest.approx(moving.body_of(30.0), rel=1e-9)


def test_it_is_measured_in_shoulder_widths():
    assert body_of(moving.waving(amplitude=30.0) * 2.5) == pytest.approx(moving.body_of(30.0), rel=1e-9)


def test_a_body_that_sways_as_a_whole_moves():
    points = moving.waving(amplitude=0.0) + np.stack([20 * moving.waves(80), 0 * moving.waves(80)], -1)[:, None]
    assert body_of(points) == pytest.approx(20**2 / 2 / moving.SHOULDERS**2, rel=1e-9)


def test_order_and_length_do_not_matter_for_the_body():
    for points in (moving.waving(80)[::-1], moving.waving(40), moving.waving(400)):
        assert body_of(points) == pytest.approx(moving.body_of(30.0), rel=0.01)


def test_joints_that_are_not_seen_do_not_count():
    points, scores = moving.waving(80), np.ones((80, 18))
    points[:, 10:] = -1.0
    scores[:, 10:] = 0.0
    assert body_of(points, scores=scores) == pytest.approx(moving.body_of(30.0) * 18 / 10, rel=1e-9)


def test_a_joint_that_is_hidden_for_a_while_counts_in_the_frames_that_show_it():
    points, scores = moving.waving(80, amplitude=30.0), np.ones((80, 18))
    points[40:, 4] = 5000.0
    scores[40:, 4] = 0.1
    assert body_of(points, scores=scores) == pytest.approx(moving.body_of(30.0), rel=1e-9)  # two of four whole periods


def test_frames_without_shoulders_are_skipped():
    measured = body(moving.pose(moving.waving(80), missing={3, 4}), 80)
    assert torch.isnan(measured.curve).nonzero().flatten().tolist() == [3, 4]
    assert measured.variance == pytest.approx(moving.body_of(30.0), rel=0.05)


def test_of_several_people_the_one_with_the_widest_shoulders_counts():
    clip = moving.pose(moving.waving(80))
    for frame, other in zip(clip, moving.pose(moving.joints()[None].repeat(80, 0) * 0.4)):
        frame["people"].insert(0, other["people"][0])
    assert body(clip, 80).variance == pytest.approx(moving.body_of(30.0), rel=1e-9)


def test_of_two_bodies_who_take_turns_in_leaning_forward_one_is_measured():
    clip = moving.pose(moving.waving(80))
    for index, frame in enumerate(clip):
        other = moving.joints()[None] * (1.1 if index % 20 < 10 else 0.7) + (900, 0)
        frame["people"].insert(index % 2, moving.pose(other)[0]["people"][0])
    assert body(clip, 80).variance == pytest.approx(moving.body_of(30.0), rel=1e-9)


def test_a_close_up_without_shoulders_is_unknown():
    scores = np.ones((80, 18))
    scores[1:, [2, 5]] = 0.1
    assert body(moving.pose(moving.waving(80), scores=scores), 80) is None
    assert body(moving.pose(moving.waving(1)), 1) is None


def test_coordinates_in_parts_of_the_canvas_are_the_same():
    clip = moving.pose(moving.waving(80) / (640, 600))
    assert body(clip, 80).variance == pytest.approx(moving.body_of(30.0), rel=1e-6)


# ----------------------------------------------------------------------------------------------------------- bad input


def refusal(function, *args) -> str:
    with pytest.raises(FantasyTalkingError) as error:
        function(*args)
    return str(error.value)


def test_one_frame_is_refused():
    clip = face_landmarks(moving.landmarks(moving.talking(1)))
    assert refusal(expression, clip).startswith("1 of 1 frames show a face, motion needs at least 2")


def test_a_clip_without_a_face_is_refused():
    clip = face_landmarks(moving.landmarks(moving.talking(8), missing=range(8)))
    assert refusal(expression, clip).startswith("0 of 8 frames show a face")


def test_landmarks_that_are_no_numbers_are_refused():
    points = moving.talking(8)
    points[3, 7, 0] = np.nan
    assert "not finite" in refusal(face_landmarks, moving.landmarks(points))


def test_joints_that_are_no_numbers_are_refused():
    points = moving.waving(8)
    points[3, 7, 0] = np.nan
    assert "not finite" in refusal(body, moving.pose(points), 8)


def test_a_pose_of_another_clip_is_refused():
    assert "are of 8 frames, images has 9" in refusal(body, moving.pose(moving.waving(8)), 9)


@pytest.mark.parametrize(
    "pose", ["a word", 3, [[1, 2]], [{"people": [{}]}] * 2, [{"people": [{"pose_keypoints_2d": [1, 2]}]}] * 2]
)
def test_what_is_no_pose_is_refused(pose):
    assert "expected POSE_KEYPOINT" in refusal(body, pose, 2)


# --------------------------------------------------------------------------------------------------------- what is said


def test_a_coefficient_that_an_adapter_does_not_know_is_told_where_it_is_wanted():
    expression_only = MotionRanges(body=None)
    assert notices.untrained(expression_only, (True, True)) == [
        "The adapter's training data did not tell how much the body moves: body stays at 0.5."
    ]
    assert notices.untrained(MotionRanges(expression=None), (True, True)) == [
        "The adapter's training data did not tell how much the face moves: expression stays at 0.5."
    ]
    assert not notices.untrained(expression_only, (True, False)) and not notices.untrained(MotionRanges(), (True, True))


def test_a_panel_says_why_its_coefficient_is_neutral():
    """Where nothing was measured, and where an adapter has no range: no curve, and another picture for another reason."""
    measured = expression(face_landmarks(moving.landmarks(moving.talking(8))))
    face, between = Panel("expression", "eye distances", measured, 0.5, (0.001, 0.002)), (0.001, 0.002)
    bodies = [
        Panel("body", "shoulder widths", measured, 0.5, between),
        Panel("body", "shoulder widths", measured, 0.5, None, "one reason"),
        Panel("body", "shoulder widths", None, 0.5, between, "one reason"),
        Panel("body", "shoulder widths", None, 0.5, between, "the other"),
    ]
    curve, untrained, unknown, other = (plot([face, body]) for body in bodies)
    assert torch.equal(untrained, unknown) and not torch.equal(unknown, other) and not torch.equal(curve, unknown)


def test_a_face_on_one_spot_is_refused():
    points = moving.talking(8)
    points[:] = points.mean(1, keepdims=True)
    assert refusal(expression, face_landmarks(moving.landmarks(points))) == (
        "The face in frame 1 of 8 lies on one spot, expected landmarks in pixels: wire Detect Face Landmarks (MediaPipe), or use a "
        "larger picture."
    )


@pytest.mark.parametrize("value", [np.inf, 1e9, -1e300])
def test_joints_far_from_any_picture_are_refused(value):
    points = moving.waving(8)
    points[3, 7, 0] = value
    assert refusal(body, moving.pose(points), 8) == (
        "pose_keypoints are not finite or far outside, expected pixels: run the pose detection again."
    )


@pytest.mark.parametrize("width", ["wide", [640], np.nan, np.inf, -1, 1e300, 10**400])
def test_a_canvas_of_no_size_is_refused_where_it_is_needed(width):
    in_parts, in_pixels = moving.pose(moving.waving(8) / (640, 600)), moving.pose(moving.waving(8))
    for frame in (*in_parts, *in_pixels):
        frame["canvas_width"] = width
    assert "pose_keypoints is of a canvas of [" in refusal(body, in_parts, 8)
    assert body(in_pixels, 8).variance == pytest.approx(body_of(moving.waving(8)))


def test_a_frame_that_shows_the_shoulders_one_before_the_other_is_skipped():
    """A body of 456 pixels' height from the side: shoulders 3 pixels apart would make its motion thousands of times larger."""
    points = moving.waving(80)
    points[10, 5] = points[10, 2] + (3, 0)
    measured = body(moving.pose(points), 80)
    assert torch.isnan(measured.curve).nonzero().flatten().tolist() == [10]
    assert measured.variance == pytest.approx(moving.body_of(30.0), rel=0.02)
