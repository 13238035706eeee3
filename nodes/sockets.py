"""The pack's own socket types, and how its nodes refuse input before anything runs."""

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from ..fantasytalking_core.errors import FantasyTalkingError, short

Adapter = io.Custom("FT_ADAPTER")
Wav2Vec = io.Custom("FT_WAV2VEC")
Speech = io.Custom("FT_SPEECH")
FaceEncoder = io.Custom("FT_FACE_ENCODER")
Identity = io.Custom("FT_IDENTITY")
Motion = io.Custom("FT_MOTION")
FaceLandmarks = io.Custom("FACE_LANDMARKS")
"""The host's own, from its face landmark detection."""
PoseKeypoints = io.Custom("POSE_KEYPOINT")
"""The host's own, from SDPose, and that of DWPose nodes."""

CATEGORY = "FantasyTalking"


def checked(check: Callable[..., Any], *values: Any) -> bool | str:
    """What `validate_inputs` answers: True, or what `check` says is wrong; values that are wired in come as None."""
    if None not in values:
        try:
            check(*values)
        except FantasyTalkingError as error:
            return str(error)
    return True


def expected(value: Any, kind: type | tuple[type, ...], name: str, source: str) -> None:
    """Refuse what is on a socket where its own type should be: over the API, any constant may be.

    Args:
        name: of the input.
        source: whose output belongs there.

    Raises:
        FantasyTalkingError
    """
    if not isinstance(value, kind):
        raise FantasyTalkingError(f"{name} is {short(value)}, expected the output of {source}: wire it.")
