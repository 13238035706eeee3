"""By what faces are found, in which order, and what is said of those that are found less exactly."""

import numpy as np
import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.face import find
from fantasytalking_core.face.alignment import TEMPLATE, points_in
from fantasytalking_core.face.detector import Box, FaceDetector
from fantasytalking_core.face.find import CASCADE, HOST, LANDMARKS, MASK, MIDDLE, choose, described, find_faces, five_points
from fantasytalking_core.face.landmarks import face_landmarks
from support.faces import NAMED, landmarks, points
from support.landmarker import CONNECTIONS, that_finds, that_is_missing


def grey(count: int = 1, side: int = 128) -> torch.Tensor:
    """Pictures in which the cascade finds nothing."""
    return torch.full((count, side, side, 3), 0.5)


@pytest.fixture
def cascade(monkeypatch):
    """Pictures in which the built-in cascade finds a face in their middle half; the others are `grey`."""

    def boxes(self, picture, smallest, min_votes):
        side = len(picture)
        return [] if picture.eq(0.5).all() else [Box(0.25 * side, 0.25 * side, 0.75 * side, 0.75 * side)]

    monkeypatch.setattr(FaceDetector, "_boxes", boxes)
    return torch.zeros(1, 128, 128, 3)


def asked_for_nothing() -> find.Landmarker:
    raise AssertionError("nobody needs the host's detector")


def template(left: float, top: float, scale: float) -> np.ndarray:
    """Landmarks of which the five points are the template's, scaled."""
    places = [(left + scale * x, top + scale * y) for x, y in TEMPLATE]
    xy = points(left, top, left + 112 * scale, top + 112 * scale)
    for indices, place in zip(((33, 133), (263, 362), (1,), (61,), (291,)), places):
        xy[list(indices)] = place
    return xy


def refusal(function, *args, **kwargs) -> str:
    with pytest.raises(FantasyTalkingError) as error:
        function(*args, **kwargs)
    return str(error.value)


# ----------------------------------------------------------------------------------------------------- in portraits


def test_landmarks_go_before_a_mask_a_mask_before_the_hosts_detector_and_that_before_the_cascade(cascade):
    mask = torch.zeros(1, 128, 128)
    mask[:, 90:120, 90:120] = 1
    wired, hosts = landmarks([points(10, 10, 50, 50)], size=(128, 128)), that_finds([points(60, 60, 100, 100)])
    for given, by, left in (
        ((mask, wired, asked_for_nothing), LANDMARKS, 10),
        ((mask, None, asked_for_nothing), MASK, 90),
        ((None, None, hosts), HOST, 60),
        ((None, None, that_is_missing), CASCADE, 32),
    ):
        (found,), _ = find_faces(cascade, *given)
        assert (found.by, found.boxes[0].left) == (by, left)


def test_landmarks_come_with_the_face_where_they_are_known(cascade):
    wired, hosts = landmarks([points(10, 10, 50, 50)], size=(128, 128)), that_finds([points(60, 60, 100, 100)])
    for given, left in ((wired, 10), (None, 60)):
        (found,), warnings = find_faces(cascade, None, given, hosts)
        assert found.boxes[0].face.box[0] == left and warnings == []
    assert find_faces(cascade, None, None, hosts)[0][0].connections == CONNECTIONS
    (by_cascade,), _ = find_faces(cascade, None, None, that_is_missing)
    (by_mask,), _ = find_faces(cascade, torch.ones(1, 128, 128))
    assert by_cascade.boxes[0].face is None and by_mask.boxes[0].face is None


def test_without_the_hosts_detector_it_is_said_what_is_missing(cascade):
    _, warnings = find_faces(cascade, None, None, that_is_missing)
    assert warnings == ["It is missing. Without it the built-in cascade looks for faces, which misses one in five."]


def test_where_the_hosts_detector_finds_none_the_cascade_looks(cascade):
    found, warnings = find_faces(cascade.expand(3, -1, -1, -1), None, None, that_finds([points(1, 1, 50, 50)], [], []))
    assert [one.by for one in found] == [HOST, CASCADE, CASCADE]
    assert warnings == ["MediaPipe found no face in 2 of 3 pictures, the built-in cascade did: look at the preview."]
    assert described([one.by for one in found]) == "1 by MediaPipe, 2 by the built-in cascade"


def test_without_a_face_it_is_said_what_to_wire_and_what_is_missing(cascade):
    assert refusal(find_faces, torch.cat([cascade, grey()]), None, None, that_is_missing) == (
        "No face was found in picture 2 of 2: wire face_landmarks from Detect Face Landmarks (MediaPipe), or a mask painted "
        "over the face. It is missing."
    )


def test_number_0_is_the_largest_of_which_the_detector_is_sure(cascade):
    """A texture of 100 pixels with a score of 0.55 beside faces of 40 and 30."""
    value = landmarks([points(10, 10, 110, 110), points(0, 0, 30, 30), points(60, 60, 100, 100)], size=(128, 128))
    value["frames"][0][0]["score"] = 0.55
    found, _ = find_faces(cascade, None, value)
    assert [choose(found, index)[0].size for index in range(3)] == [40, 30, 100]


# --------------------------------------------------------------------------------------------------- to be encoded


def five(value: dict, index: int = 0) -> list:
    return face_landmarks(value).frames[index][0].five_points().tolist()


def test_the_five_points_are_of_the_landmarks_where_there_are_any(cascade):
    """Of the second picture there are none, as of one by the cascade: its points are those in the cascade's box."""
    value = landmarks([points(10, 10, 100, 100)], [], size=(128, 128))
    found, by, warnings = five_points(cascade.expand(2, -1, -1, -1), face_landmarks(value), that_is_missing)
    assert by == [LANDMARKS, CASCADE] and found[0].tolist() == five(value)
    assert torch.equal(found[1], points_in(Box(32, 32, 96, 96)))
    assert warnings == [
        "The face in picture 2 of 2 is placed by the built-in cascade: strangers may look alike. It is missing."
    ]


def test_without_landmarks_the_hosts_detector_finds_them(cascade):
    """Upright eyes, nose and mouth: of the box's width and height, as in the support's faces."""
    box = points(20, 20, 100, 100)
    (found,), by, warnings = five_points(cascade, None, that_finds([box]))
    eye, nose = [(NAMED[33][axis] + NAMED[133][axis]) / 2 * 80 + 20 for axis in (0, 1)], [c * 80 + 20 for c in NAMED[1]]
    assert by == [HOST] and warnings == []
    assert found[0].tolist() == pytest.approx(eye) and found[2].tolist() == pytest.approx(nose)


def test_the_hosts_detector_is_not_asked_for_what_is_wired():
    value = face_landmarks(landmarks([points(10, 10, 100, 100)], size=(128, 128)))
    assert five_points(grey(), value, asked_for_nothing)[1] == [LANDMARKS]


def test_of_several_faces_the_one_counts_that_the_picture_was_cut_to():
    """Number 1 in the portrait is in the middle of its crop, beside the larger number 0; where none is, number 0 counts."""
    beside, in_the_middle = points(0, 0, 60, 60), points(44, 44, 84, 84)
    (found,), _, _ = five_points(grey(), None, that_finds([beside, in_the_middle]))
    assert found.tolist() == five(landmarks([in_the_middle], size=(128, 128)))
    (found,), _, _ = five_points(grey(), None, that_finds([points(90, 90, 120, 120), beside]))
    assert found.tolist() == five(landmarks([beside], size=(128, 128)))


def test_what_the_hosts_detector_takes_for_a_face_and_lies_as_in_none_does_not_count():
    """Its points are on a line."""
    flat = points(20, 20, 100, 100) * (1, 0) + (0, 60)
    _, by, _ = five_points(grey(), None, that_finds([flat]))
    assert by == [MIDDLE]


def test_without_a_face_the_middle_is_taken_and_strangers_look_alike():
    found, by, warnings = five_points(grey(3), None, that_finds([points(20, 20, 100, 100)], [], []))
    assert by == [HOST, MIDDLE, MIDDLE] and found[1] is None
    assert warnings == [
        "No face was found in 2 of 3 pictures, the middle is taken as it is: strangers will look alike. Wire face_landmarks from "
        "Crop Face or Detect Face Landmarks (MediaPipe)."
    ]


def test_a_face_of_which_much_lies_outside_is_told():
    """Of the template's 112 columns 28 lie left of the picture, of its rows none."""
    value = landmarks([template(-28, 8, 1.0)], size=(128, 128))
    _, _, warnings = five_points(grey(), face_landmarks(value))
    assert warnings == [
        "25% of what the face encoder looks at lies outside of the picture: raise padding of Crop Face to 0.3, or use a picture "
        "with more room around the face."
    ]
    value = landmarks([template(8, 8, 1.0)], size=(128, 128))
    assert five_points(grey(), face_landmarks(value))[2] == []


def test_a_picture_in_which_nobody_is_to_be_seen_is_refused_before_anything_is_looked_for():
    assert "face is 31×31 pixels, expected at least 32" in refusal(five_points, grey(1, 31), None, asked_for_nothing)
