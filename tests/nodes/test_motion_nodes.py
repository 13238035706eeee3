"""What the motion nodes refuse, over the API as from the page."""

import math

import pytest
import torch

from support import moving
from support.graphs import rejection

INTENSITY, FROM_VIDEO = "FantasyTalkingMotionIntensity", "FantasyTalkingMotionFromVideo"


@pytest.mark.parametrize("name", ["expression", "body"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, 1e30])
def test_a_coefficient_that_is_none_is_refused(host, run, name, value):
    """The host's own limits let nan pass."""
    expected = f"{name} is {value:g}, expected 0 (still) to 1 (lively); 0.5 is neutral."
    coefficients = {"expression": 0.5, "body": 0.5, name: value}
    assert rejection(INTENSITY, **coefficients).endswith(expected)
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(INTENSITY, **coefficients)
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (
            {"adapter": "fantasytalking_model.ckpt"},
            "adapter is fantasytalking_model.ckpt, expected the output of Adapter Loader",
        ),
        ({"face_landmarks": 3}, "face_landmarks is a int, expected the host's FACE_LANDMARKS: wire Detect Face Landmarks"),
        ({"pose_keypoints": 3}, "pose_keypoints is int, expected POSE_KEYPOINT with one entry per frame"),
        ({"images": "clip.mp4"}, "images is str, expected an IMAGE"),
    ],
)
def test_a_constant_on_a_socket_is_refused(host, run, inputs, expected):
    given = {"images": torch.zeros(8, 600, 640, 3), "face_landmarks": moving.landmarks(moving.talking(8)), **inputs}
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(FROM_VIDEO, **given)
    assert expected in str(error.value)
