"""The host's pictures and face landmarks, as the face nodes take them."""

import math

import numpy as np
import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.face.landmarks import face_landmarks, landmarks_of
from fantasytalking_core.pictures import pictures
from support.faces import landmarks, points

FACE = points(100, 50, 300, 350)


# ---------------------------------------------------------------------------------------------------- landmarks


def test_a_faces_box_is_the_extent_of_its_points():
    face = face_landmarks(landmarks([FACE], size=(400, 400))).frames[0][0]
    assert face.box == (100, 50, 300, 350)
    assert face.size == 300


def test_the_five_points_are_eye_centres_nose_and_mouth_corners_from_the_left():
    xy = np.full((478, 2), 7.0, np.float32)
    xy[33], xy[133], xy[362], xy[263] = (110, 200), (150, 210), (250, 200), (290, 190)
    xy[1], xy[61], xy[291] = (200, 260), (160, 310), (240, 305)
    face = face_landmarks(landmarks([xy], size=(400, 400))).frames[0][0]
    assert face.five_points().tolist() == [[130, 205], [270, 195], [200, 260], [160, 310], [240, 305]]


def test_faces_are_ordered_from_the_largest():
    """By the longer side of the box, whatever order they were found in."""
    small, wide, tall = points(0, 0, 40, 50), points(50, 0, 170, 60), points(200, 0, 260, 110)
    faces = face_landmarks(landmarks([small, wide, tall], size=(200, 300))).frames[0]
    assert [face.size for face in faces] == [120, 110, 50]


def test_every_picture_keeps_its_own_faces_and_may_have_none():
    found = face_landmarks(landmarks([FACE], [], [FACE, FACE], size=(400, 400)))
    assert [len(frame) for frame in found.frames] == [1, 0, 2]
    assert (found.height, found.width) == (400, 400)


@pytest.mark.parametrize("convert", [torch.from_numpy, np.ndarray.tolist, np.float64], ids=["tensor", "list", "float64"])
def test_points_may_come_as_tensors_lists_or_other_floats(convert):
    value = landmarks([FACE], size=(400, 400))
    value["frames"][0][0]["landmarks_xy"] = convert(FACE)
    assert face_landmarks(value).frames[0][0].points.tolist() == FACE.tolist()


def scored(xy: np.ndarray, score: object) -> dict:
    return {**landmarks([xy], size=(400, 400))["frames"][0][0], "score": score}


def test_a_face_that_the_detector_is_sure_of_goes_before_a_larger_one_that_it_is_not():
    small, large, larger = points(0, 0, 40, 50), points(50, 0, 170, 60), points(200, 0, 380, 200)
    frame = [scored(larger, 0.55), scored(small, 0.9), scored(large, 0.7), scored(small, np.float32(0.6))]
    faces = face_landmarks({"frames": [frame], "image_size": (400, 400)}).frames[0]
    assert [(face.size, round(face.score, 2)) for face in faces] == [(120, 0.7), (50, 0.9), (200, 0.55), (50, 0.6)]


def test_where_no_score_is_told_the_detector_is_sure():
    frame = [scored(points(0, 0, 40, 50), 0.9), {"landmarks_xy": points(50, 0, 170, 60)}]
    assert [face.size for face in face_landmarks({"frames": [frame], "image_size": (400, 400)}).frames[0]] == [120, 50]


def test_a_face_that_is_cut_off_by_the_pictures_edge_is_taken():
    assert face_landmarks(landmarks([points(-90, -80, 90, 80)], size=(100, 100))).frames[0][0].box == (-90, -80, 90, 80)


def test_in_a_part_of_the_picture_the_points_are_where_they_are_in_its_pixels():
    """Cut out from (90, 40) and doubled: the middle of pixel 100 is 10.5 pixels from the edge, so at 21, the middle of none of
    the large pixels: 20.5. Depth doubles, too."""
    value = landmarks([points(100, 50, 300, 350)], size=(400, 400))
    face = face_landmarks(value).frames[0][0].cut_out(90, 40, 2.0)
    assert face.box == (20.5, 20.5, 420.5, 620.5)
    found = face.to_host()
    assert found["landmarks_xy"].dtype == np.float32 and found["bbox_xyxy"].tolist() == [20.5, 20.5, 420.5, 620.5]
    assert "transformation_matrix" not in found and found["presence"] == 1.0 and found["score"] == 1.0


def test_what_the_host_is_given_back_is_what_it_gave():
    value = {**landmarks([FACE], [], size=(400, 300)), "connection_sets": {"lips": frozenset({(61, 146)})}}
    found = face_landmarks(value).to_host()
    assert found["image_size"] == (400, 300) and found["connection_sets"] == value["connection_sets"]
    assert [len(frame) for frame in found["frames"]] == [1, 0]
    (given,), (back,) = value["frames"][0], found["frames"][0]
    assert back.keys() == given.keys()
    assert all(np.array_equal(back[key], given[key]) for key in given if key != "bbox_xyxy")


NOT_FINITE = FACE.copy()
NOT_FINITE[5, 1] = math.nan
OUTLIER = FACE.copy()
OUTLIER[200, 1] = 1e9
BAD_LANDMARKS = {
    "none": (None, "face_landmarks is a NoneType, expected the host's FACE_LANDMARKS: wire Detect Face Landmarks"),
    "a_list": ([FACE], "face_landmarks is a list, expected the host's FACE_LANDMARKS"),
    "another_dict": ({"points": FACE}, "face_landmarks is one with other contents, expected the host's FACE_LANDMARKS"),
    "no_size": ({"frames": [[]]}, "face_landmarks is one with other contents"),
    "no_points": ({"frames": [[{}]], "image_size": (9, 9)}, "face_landmarks is one with other contents"),
    "a_frame_is_none": ({"frames": [None], "image_size": (9, 9)}, "face_landmarks is one with other contents"),
    "without_irises": (landmarks([FACE[:468]], size=(9, 9)), r"landmarks of shape \[468, 2\], expected \[478, 2\]"),
    "three_axes": (landmarks([np.zeros((478, 3))], size=(9, 9)), r"landmarks of shape \[478, 3\], expected \[478, 2\]"),
    "a_face_is_a_list": ({"frames": [[[1, 2]]], "image_size": (9, 9)}, "face_landmarks is one with other contents"),
    "frames_is_a_number": ({"frames": 3, "image_size": (9, 9)}, "face_landmarks is one with other contents"),
    "no_sides": (landmarks([FACE], size=(0, 9)), "face_landmarks is one with other contents"),
    "endless_sides": (landmarks([FACE], size=(math.inf, 9)), "face_landmarks is one with other contents"),
    "huge_sides": (landmarks([FACE], size=(10**300, 9)), "face_landmarks is one with other contents"),
    "points_of_words": (
        {"frames": [[{"landmarks_xy": "x"}]], "image_size": (9, 9)},
        "face_landmarks is one with other contents",
    ),
    "a_score_of_words": (
        {"frames": [[scored(FACE, "x")]], "image_size": (400, 400)},
        "face_landmarks is one with other contents",
    ),
    "beside": (
        landmarks([points(500, 50, 600, 150)], size=(400, 400)),
        r"A face has landmarks from \(500, 50\) to \(600, 150\), expected them in their picture of 400×400: wire the same pictures",
    ),
    "one_far_point": (
        landmarks([OUTLIER], size=(400, 400)),
        r"landmarks from \(100, 50\) to \(300, 1e\+09\), expected them in",
    ),
    "huge": (landmarks([points(-5000, -5000, 5000, 5000)], size=(400, 400)), "expected them in their picture of 400×400"),
    "nan": (landmarks([NOT_FINITE], size=(9, 9)), "landmarks that are not finite: run Detect Face Landmarks .* again"),
}


@pytest.mark.parametrize("value, message", BAD_LANDMARKS.values(), ids=BAD_LANDMARKS)
def test_what_is_no_face_landmarks_is_refused(value, message):
    with pytest.raises(FantasyTalkingError, match=message):
        face_landmarks(value)


@pytest.mark.parametrize("shape", [(1, 400, 300, 3), (2, 400, 400, 3), (1, 200, 200, 3)], ids=["width", "count", "scale"])
def test_landmarks_of_other_pictures_are_refused(shape):
    count, height, width, _ = shape
    with pytest.raises(
        FantasyTalkingError, match=f"are of 1 pictures of 400×400, image has {count} of {width}×{height}: wire the same"
    ):
        landmarks_of(landmarks([FACE], size=(400, 400)), torch.zeros(shape))


def test_landmarks_of_these_pictures_are_taken():
    found = landmarks_of(landmarks([FACE], [FACE], size=(300, 400)), torch.zeros(2, 300, 400, 3))
    assert len(found.frames) == 2


# ----------------------------------------------------------------------------------------------------- pictures


def test_a_grey_picture_gets_three_equal_channels():
    grey = torch.rand(2, 8, 9, 1)
    assert torch.equal(pictures(grey), torch.cat([grey] * 3, dim=-1))


def test_an_alpha_channel_is_left_out():
    picture = torch.rand(1, 8, 9, 4)
    assert torch.equal(pictures(picture), picture[..., :3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_values_are_numbers_from_0_to_1_in_float32(dtype):
    """What sharpening adds beyond is cut off."""
    picture = torch.tensor([-0.5, 0.25, 1.5], dtype=dtype).reshape(1, 1, 1, 3).requires_grad_()
    ours = pictures(picture)
    assert ours.dtype == torch.float32 and not ours.requires_grad
    assert ours.flatten().tolist() == [0, 0.25, 1]


@pytest.mark.parametrize(
    ("value", "told"),
    [(math.nan, "from nan to nan"), (math.inf, "from 0 to inf"), (255.0, "from 0 to 255"), (-1.0, "from -1 to 0")],
)
def test_a_picture_with_one_value_that_is_none_of_a_picture_is_refused(value, told):
    picture = torch.zeros(1, 8, 8, 3)
    picture[0, 3, 4, 1] = value
    with pytest.raises(
        FantasyTalkingError, match=f"face has values {told}, expected 0 to 1: scale them, or make the picture anew"
    ):
        pictures(picture, "face")


BAD_PICTURES = {
    "none": (None, "face is NoneType, expected an IMAGE"),
    "no_batch": (torch.zeros(8, 8, 3), r"face is \[8, 8, 3\], expected an IMAGE \[batch, height, width, 3\]: wire Load"),
    "no_pictures": (torch.zeros(0, 8, 8, 3), r"face is \[0, 8, 8, 3\], expected an IMAGE"),
    "two_channels": (torch.zeros(1, 8, 8, 2), r"face has 2 channels, expected 3 \(RGB\)"),
    "channels_first": (torch.zeros(1, 3, 8, 8), r"face has 8 channels, expected 3 \(RGB\)"),
    "bytes": (torch.zeros(1, 8, 8, 3, dtype=torch.uint8), r"face is \[1, 8, 8, 3\] of uint8, expected an IMAGE"),
    "complex": (torch.zeros(1, 8, 8, 3, dtype=torch.complex64), r"face is \[1, 8, 8, 3\] of complex64, expected an IMAGE"),
    "sparse": (torch.zeros(1, 8, 8, 3).to_sparse(), "face is a tensor of another layout, expected an IMAGE"),
    "nested": (torch.nested.nested_tensor([torch.zeros(8, 8, 3), torch.zeros(4, 8, 3)]), "face is a tensor of another layout"),
    "without_values": (torch.empty(1, 8, 8, 3, device="meta"), "face is a tensor of another layout, expected an IMAGE"),
}


@pytest.mark.parametrize("image, message", BAD_PICTURES.values(), ids=BAD_PICTURES)
def test_what_is_no_picture_is_refused_by_the_inputs_name(image, message):
    with pytest.raises(FantasyTalkingError, match=message):
        pictures(image, "face")
