"""The mask of a mouth through a video: it holds the lips, grows, follows one person, and goes on where the face is not seen."""

import numpy as np
import pytest
import torch

from drawn_world.world.figure import Pose, landmarks
from drawn_world.world.look import MOUTH_INSIDE, Look
from drawn_world.world.portrait import draw
from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.face.landmarks import OUTER_LIPS, face_landmarks
from fantasytalking_core.motion.mouth_mask import MouthTrack
from fantasytalking_core.training.data.lip_mask import filled
from support import faces

HEIGHT, WIDTH = 160, 200
JAW = (361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132)
LIPS = ((40, 90), (80, 90), (80, 110), (40, 110))
"""Corners of a mouth, in pixels."""


def face(moved: float = 0.0, body: float = 0.0) -> np.ndarray:
    """A face of 100 × 140 pixels with a mouth of 40 × 20, which is moved to the right; `body` moves all of it."""
    points = np.full((478, 2), (60.0, 60.0))
    points[200], points[201] = (10, 10), (110, 150)
    points[list(JAW)] = [((20, 100), (60, 140), (100, 100))[number % 3] for number in range(len(JAW))]
    points[2] = (60, 80)
    points[list(OUTER_LIPS)] = [LIPS[number % 4] for number in range(20)]
    points[list(OUTER_LIPS), 0] += moved
    return (points + (body, 0)).astype(np.float32)


def track(*frames, region: str = "mouth", size: tuple[int, int] = (HEIGHT, WIDTH)) -> MouthTrack:
    """Of the points of each frame's faces."""
    return MouthTrack.of(face_landmarks(faces.landmarks(*frames, size=size)), region)


def masks_of(*frames, grow: float = 0.0, region: str = "mouth") -> torch.Tensor:
    return track(*frames, region=region).masks(HEIGHT, WIDTH, grow)


def distances(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """`[HEIGHT, WIDTH]`: of every pixel to a box."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.hypot(np.maximum(0, np.maximum(left - x, x - right)), np.maximum(0, np.maximum(top - y, y - bottom)))


@pytest.mark.parametrize("grow", [0.0, 0.05, 0.1, 0.4])
def test_the_mouth_grows_by_so_many_widths_of_the_face(grow):
    (mask,) = masks_of([face()], grow=grow)
    assert mask.dtype == torch.float32
    assert np.array_equal(mask.numpy() == 1, distances(40, 90, 80, 110) <= grow * 100)
    assert set(mask.unique().tolist()) == {0.0, 1.0}


def test_the_lower_face_is_the_hull_of_lips_nose_and_jaw():
    (mask,) = masks_of([face()], region="lower face")
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    height = np.where(y <= 100, (100 - y) / 20, (y - 100) / 40)  # a kite: the nose above, the ends of the jaw, the chin
    beyond = np.abs(x - 60) - 40 * (1 - height)  # pixels along the row; the upper sides rise by 1 in 2
    assert mask.numpy()[beyond <= 0].all() and not mask.numpy()[beyond > 2].any()


def test_the_mask_goes_on_at_the_edge_of_the_picture():
    """A mouth that is outside, but not further than the mask grows."""
    (mask,) = masks_of([face(body=-85)], grow=0.1)  # its right corners are at -5
    assert np.array_equal(mask.numpy() == 1, distances(-45, 90, -5, 110) <= 10)
    assert mask.any()


def test_a_place_is_the_mean_with_its_neighbours():
    masks = masks_of(*([face(moved)] for moved in (0, 0, 0, 8, 0, 0)))
    assert [int(mask.any(0).nonzero()[0]) - 40 for mask in masks] == [0, 0, 2, 4, 2, 0]


def test_a_gap_is_bridged_straight_and_the_ends_stand_still():
    gap = track([], [face(0)], [], [], [], [face(16)], [], [])
    lefts = [int(mask.any(0).nonzero()[0]) - 40 for mask in gap.masks(HEIGHT, WIDTH, 0.0)]
    assert lefts == [0, 1, 4, 8, 12, 15, 16, 16]  # straight: 0 0 4 8 12 16 16 16
    assert (list(gap.known), gap.longest_gap) == ([1, 5], 3)
    assert gap.notices() == [
        "6 of 8 frames do not show the face, at most 3 in a row: the mask goes straight from where it was to where it is next."
    ]


@pytest.mark.parametrize(("seen", "gap"), [([0, 1, 2], 0), ([2], 2), ([0], 2), ([0, 2], 1)])
def test_gaps_at_the_ends_count(seen, gap):
    assert track(*([face()] if frame in seen else [] for frame in range(3))).longest_gap == gap


def test_of_two_people_the_one_who_is_large_in_many_frames_is_followed():
    """The other one is larger in two frames of six, and comes first there."""
    other = faces.points(120, 0, 195, 155)
    frames = [[other, face(body=shift)] if shift < 2 else [face(body=shift)] for shift in range(6)]
    both = track(*frames)
    assert both.longest_gap == 0 and (both.points[..., 0] < 100).all()


def test_who_leaves_and_comes_back_is_bridged_while_another_one_stays():
    other = faces.points(160, 60, 195, 95)
    left = track(*([other, face()] if frame not in (2, 3) else [other] for frame in range(7)))
    assert left.longest_gap == 2 and (left.points[..., 0] < 100).all()


def moments(frames: int) -> list[Pose]:
    """A head that turns, nods and shakes fast, and a mouth that opens and closes within three frames."""
    time = np.arange(frames) / 25
    return [
        Pose(
            mouth_open=float(0.5 + 0.5 * np.sin(2 * np.pi * 6 * t)),
            mouth_wide=float(np.sin(2 * np.pi * 2 * t)),
            head=(float(0.08 * np.sin(2 * np.pi * 1.5 * t)), float(0.05 * np.sin(2 * np.pi * 2 * t))),
            tilt=float(0.35 * np.sin(2 * np.pi * t)),
        )
        for t in time
    ]


@pytest.mark.parametrize("region", ["mouth", "lower face"])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_every_frame_of_a_moving_head_has_the_lips_in_the_mask(region, noise):
    """What is drawn and where its lips truly are, from landmarks that a detector would miss by a hundredth of the head."""
    size, random = 128, np.random.default_rng(4)
    for number in range(3):
        look, poses = Look.random(number), moments(25)
        true = [landmarks(look, pose, size) for pose in poses]
        seen = [
            [(points + random.normal(0, noise * 2 * look.width * size, points.shape)).astype(np.float32)] for points in true
        ]
        masks = track(*seen, region=region, size=(size, size)).masks(size, size)
        for mask, points, pose in zip(masks, true, poses, strict=True):
            lips = filled(torch.from_numpy(points[list(OUTER_LIPS)]), size, size)
            inside = np.abs(draw(look, pose, size).astype(int) - MOUTH_INSIDE).sum(-1) < 40
            assert lips.sum() > 20 and mask[lips].all() and mask[torch.from_numpy(inside)].all()
            assert mask.mean() < 0.5  # not everything: the drawn jaw's landmarks lie anywhere on the head


@pytest.mark.parametrize(("wide", "notices"), [(200, 0), (97, 0), (95, 1)])
def test_a_small_face_is_said(wide, notices):
    found = track([faces.points(0, 0, wide, 150)], size=(200, 220))
    assert len(found.notices()) == notices
    if notices:
        assert found.notices()[0].startswith(
            "The face is 95 pixels wide, and so small a mouth is not made well: crop the video"
        )


@pytest.mark.parametrize(
    ("frames", "region", "said"),
    [
        ([[], [], []], "mouth", "None of the 3 frames shows a face: lower min_confidence"),
        ([[faces.points(0, 0, 7, 9)]], "mouth", "The face is 7.0 pixels wide, expected 8 or more"),
        ([[face()]], "nose", "region is nose, expected one of: lower face, mouth"),
    ],
)
def test_what_has_no_mouth_is_refused(frames, region, said):
    with pytest.raises(FantasyTalkingError, match=said):
        track(*frames, region=region)


@pytest.mark.parametrize("grow", [-0.1, 1.1, float("nan")])
def test_growth_has_limits(grow):
    with pytest.raises(FantasyTalkingError, match="grow is .*, expected 0 to 1"):
        masks_of([face()], grow=grow)
