"""Every pixel is the nearest person's, with soft borders: by hand."""

import math

import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.face.detector import Box
from fantasytalking_core.face.speaker_masks import COLOURS, numbered, people, preview, speaker_masks
from support import faces
from support.landmarker import that_finds, that_is_missing


def face(x: int, y: int, width: float = 40, height: float = 40) -> Box:
    """Around the middle of a pixel."""
    x, y = x + 0.5, y + 0.5
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def near(values: torch.Tensor, expected: list[float]) -> bool:
    return torch.allclose(values, torch.tensor(expected, dtype=torch.float32), atol=1e-5)


# ------------------------------------------------------------------------------------------------------- who hears what


def test_between_two_faces_the_border_is_half_of_their_mean_width():
    """Widths of 40 and 60: a border of 25 pixels of d_2 − d_1, which on the line between them is 110 − 2 (x − 30)."""
    masks = speaker_masks([face(30, 60, 40), face(140, 60, 60)], 120, 200)
    at = [0, 30, 78, 79, 83, 85, 87, 91, 92, 140, 199]
    left = [1, 1, 1, 0.5 + 12 / 25, 0.5 + 4 / 25, 0.5, 0.5 - 4 / 25, 0.5 - 12 / 25, 0, 0, 0]
    assert masks.shape == (2, 120, 200) and masks.dtype == torch.float32
    assert near(masks[0, 60, at], left) and near(masks[1, 60, at], [1 - value for value in left])


def test_the_distance_is_the_straight_line_to_the_faces_middle():
    """From (62, 40) it is 50 to (22, 10), a triangle of 30, 40 and 50, and 47 to (62, 87); the border is 20."""
    masks = speaker_masks([face(22, 10), face(62, 87)], 120, 120)
    assert near(masks[:, 40, 62], [0.5 - 3 / 20, 0.5 + 3 / 20])


def test_of_three_in_a_row_only_neighbours_share_a_border():
    masks = speaker_masks([face(20, 30), face(60, 30), face(100, 30)], 60, 120)
    assert near(masks[:, 30, 40], [0.5, 0.5, 0]) and near(masks[:, 30, 80], [0, 0.5, 0.5])
    assert near(masks[:, 30, 42], [0.3, 0.7, 0])  # 0.5 ± 4 / 20
    assert torch.equal(masks[:, 30, [0, 60, 119]], torch.eye(3))


def test_where_three_are_equally_near_each_has_a_third():
    """Each has 0.5 before they are divided by their sum."""
    masks = speaker_masks([face(10, 50), face(50, 10), face(90, 50)], 100, 100)
    assert near(masks[:, 50, 50], [1 / 3] * 3)


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_the_masks_sum_to_1_everywhere(count):
    places = torch.randint(0, 100, (count, 2), generator=torch.Generator().manual_seed(count)).tolist()
    masks = speaker_masks([face(x, y, 10 + 3 * x) for x, y in places], 90, 110)
    assert torch.allclose(masks.sum(0), torch.ones(90, 110), atol=1e-6)
    assert masks.min() >= 0 and masks.max() <= 1


def test_two_faces_in_one_place_share_everything():
    assert near(speaker_masks([face(30, 30), face(30, 30, 60)], 64, 64)[:, 5, 9], [0.5, 0.5])


@pytest.mark.parametrize("body", [1.0, 1])
def test_one_person_alone_has_the_whole_picture(body):
    assert torch.equal(speaker_masks([face(20, 20)], 64, 96, body), torch.ones(1, 64, 96))


# ----------------------------------------------------------------------------------------------------------------- body


def test_body_is_what_is_heard_outside_of_the_face():
    """A face of 40 × 80: an ellipse of 30 × 60 pixels around its middle, and an edge of 10."""
    (mask,) = speaker_masks([face(100, 100, 40, 80)], 200, 200, body=0.2)
    assert near(mask[100, [100, 129, 130, 135, 140, 160]], [1, 1, 1, 0.2 + 0.8 * 0.5, 0.2, 0.2])
    assert near(mask[[0, 30, 35, 40, 41, 160, 165, 199], 100], [0.2, 0.2, 0.6, 1, 1, 1, 0.6, 0.2])
    assert mask[100, 100] == 1


def test_body_0_leaves_the_faces_alone_and_each_its_own():
    masks = speaker_masks([face(50, 60), face(150, 60)], 120, 200, body=0.0)
    assert near(masks[0, 60, [50, 75, 80, 85, 90, 99, 150]], [1, 1, 1, 0.5, 0, 0, 0])
    assert near(masks[1, 60, [50, 99, 115, 120, 150]], [0, 0, 0.5, 1, 1])


def test_body_scales_what_is_each_ones():
    """In the middle of the border, 50 pixels from either face."""
    assert near(speaker_masks([face(50, 60), face(150, 60)], 120, 200, body=0.3)[:, 60, 100], [0.15, 0.15])


@pytest.mark.parametrize("body", [-0.1, 1.1, math.nan, math.inf, "1", None])
def test_what_is_no_body_is_refused(body):
    with pytest.raises(FantasyTalkingError, match="body is .*, expected 0 to 1"):
        speaker_masks([face(20, 20)], 64, 64, body)


def test_masks_of_more_pixels_than_memory_are_refused_before_they_are_made():
    with pytest.raises(FantasyTalkingError, match="The masks would be 2 of 100000×90000 pixels: make the picture smaller"):
        speaker_masks([face(20, 20), face(90, 20)], 90_000, 100_000)


# -------------------------------------------------------------------------------------------------------- who is there


GREY = torch.full((1, 100, 300, 3), 0.5)


def test_people_are_sorted_from_left_to_right_whatever_their_size():
    found = faces.landmarks(
        [faces.points(110, 0, 210, 100), faces.points(220, 20, 260, 60), faces.points(10, 10, 70, 70)], size=(100, 300)
    )
    sorted_, by, warnings = people(GREY, found, that_is_missing)
    assert [(box.left, box.right) for box in sorted_] == [(10, 70), (110, 210), (220, 260)]
    assert by == "by face_landmarks" and warnings == []


def test_without_landmarks_the_hosts_detector_looks():
    found, by, warnings = people(GREY, None, that_finds([faces.points(150, 10, 210, 70), faces.points(10, 10, 50, 70)]))
    assert [box.left for box in found] == [10, 150] and by == "by MediaPipe" and warnings == []


@pytest.mark.parametrize("landmarks", [None, faces.landmarks([], size=(100, 300))])
def test_without_a_face_the_message_says_to_paint_masks(landmarks):
    with pytest.raises(FantasyTalkingError) as error:
        people(GREY, landmarks, that_is_missing)
    first = "lower min_confidence of" if landmarks else "wire face_landmarks from"
    assert str(error.value) == (
        f"No face was found in the picture: {first} Detect Face Landmarks (MediaPipe), or paint a mask of each person by hand "
        f"and wire it into FantasyTalking Conditioning.{'' if landmarks else ' It is missing.'}"
    )


def test_several_pictures_are_refused():
    with pytest.raises(
        FantasyTalkingError, match="image is a batch of 3 pictures, expected the one that the video starts from"
    ):
        people(GREY.expand(3, -1, -1, -1), None, that_is_missing)


@pytest.mark.parametrize("box", [(10, 10, 14, 60), (10, 10, 60, 17), (0.1, 0.2, 0.4, 0.5)])
def test_a_face_that_is_a_dot_or_a_line_is_refused(box):
    with pytest.raises(FantasyTalkingError, match="A face is .* pixels large, expected 8 or more on both sides"):
        people(GREY, faces.landmarks([faces.points(100, 10, 160, 70), faces.points(*box)], size=(100, 300)), that_is_missing)


# -------------------------------------------------------------------------------------------------- numbers and preview


def test_the_numbered_masks_are_empty_for_who_is_not_there():
    masks = torch.rand(2, 5, 7)
    one, two, three, four = numbered(masks, 4)
    assert torch.equal(one, masks[:1]) and torch.equal(two, masks[1:])
    assert torch.equal(three, torch.zeros(1, 5, 7)) and torch.equal(four, torch.zeros(1, 5, 7))


def test_of_more_people_the_first_are_numbered():
    masks = torch.rand(6, 5, 7)
    assert torch.equal(torch.cat(numbered(masks, 4)), masks[:4])


def test_the_preview_has_each_persons_part_in_a_colour_and_their_boxes():
    """Far from the faces 0.6 of the picture and 0.4 of the colour, half of that where half is heard."""
    boxes, picture = [face(50, 60), face(150, 60)], torch.full((120, 200, 3), 0.5)
    shown = preview(picture, boxes, speaker_masks(boxes, 120, 200))
    colours = torch.tensor(COLOURS) / 255
    for x, expected in (
        (5, 0.3 + 0.4 * colours[0]),
        (100, 0.3 + 0.2 * (colours[0] + colours[1])),
        (195, 0.3 + 0.4 * colours[1]),
    ):
        assert torch.allclose(shown[110, x], expected, atol=0.5 / 255)
    assert torch.allclose(shown[60, 30], colours[0]) and torch.allclose(shown[60, 169], colours[1])
    half = preview(picture, boxes, speaker_masks(boxes, 120, 200, body=0.5))
    assert torch.allclose(half[110, 5], 0.4 + 0.2 * colours[0], atol=0.5 / 255)
    assert torch.equal(picture, torch.full((120, 200, 3), 0.5))
