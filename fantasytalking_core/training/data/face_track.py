"""The face in the frames of a clip: where it and its lips are, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...errors import FantasyTalkingError
from ...face.landmarks import POINTS, Face, FaceLandmarks, face_landmarks
from ...motion.measure import one_face
from .lip_mask import OUTER_LIPS


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face in the F frames of a clip, NaN in a frame without it.

    Attributes:
        lips: `[F, K, 2]`, outline of the lips in pixels.
        confidence: `[F]` in [0, 1]; 0 in a frame without a face.
        landmarks: `[F, 478, 3]`, x, y and depth in pixels, or None where only the lips are known.
    """

    lips: torch.Tensor
    confidence: torch.Tensor
    landmarks: torch.Tensor | None = None

    @classmethod
    def of(
        cls, landmarks: torch.Tensor | None, lips: torch.Tensor | None = None, confidence: torch.Tensor | None = None
    ) -> "FaceTrack":
        """Of landmarks `[F, 478, 2 or 3]`, lips `[F, K, 2]` or both."""
        if landmarks is not None and landmarks.shape[-1] == 2:
            landmarks = torch.nn.functional.pad(landmarks, (0, 1))
        if lips is None:
            assert landmarks is not None, "of neither landmarks nor lips there is no track"
            lips = landmarks[:, OUTER_LIPS, :2]
        known = torch.isfinite(lips if landmarks is None else landmarks).flatten(1).all(1)
        confidence = torch.ones(len(lips)) if confidence is None else confidence.nan_to_num(0.0)
        return cls(lips, confidence * known, landmarks)

    @classmethod
    def of_host(cls, value: Mapping[str, Any]) -> "FaceTrack":
        """One face of a host's FACE_LANDMARKS through the frames, with the detector's score."""
        frames = [[face for face in faces if _is_in(face, value["image_size"])] for faces in value["frames"]]
        landmarks = face_landmarks({**value, "frames": frames})
        points = torch.full((len(landmarks.frames), POINTS, 3), float("nan"))
        confidence = torch.zeros(len(landmarks.frames))
        for frame, face in one_face(landmarks).items():
            points[frame], confidence[frame] = face.points3d(), face.score
        return cls.of(points, None, confidence)

    def moved(self, by: torch.Tensor) -> "FaceTrack":
        """With every place moved by `[2]` pixels."""
        landmarks = None if self.landmarks is None else self.landmarks + torch.nn.functional.pad(by, (0, 1))
        return replace(self, lips=self.lips + by, landmarks=landmarks)

    @property
    def middle(self) -> tuple[float, float] | None:
        """Of all places of the face in the clip, in pixels; None where there are none."""
        found = self.confidence > 0
        if not found.any():
            return None
        points = (self.lips if self.landmarks is None else self.landmarks)[found, :, :2].flatten(0, 1).double()
        x, y = ((points.amin(0) + points.amax(0)) / 2).tolist()
        if self.landmarks is None:  # the middle of a face is about the width of its mouth above that
            across = self.lips[found, :, 0].double()
            y -= float((across.amax(1) - across.amin(1)).mean())
        return x, y

    @property
    def faces(self) -> FaceLandmarks | None:
        """The landmarks as the rest of the package knows them; sizes of the picture are left out."""
        if self.landmarks is None:
            return None
        pairs = zip(self.landmarks, self.confidence > 0, strict=True)
        frames = [(Face(points[:, :2], points[:, 2]),) if there else () for points, there in pairs]
        return FaceLandmarks(tuple(frames), 0, 0)


def _is_in(face: Mapping[str, Any], size: tuple[int, int]) -> bool:
    """Whether a detected face can be one: what is seen in noise may lie outside of the picture."""
    try:
        face_landmarks({"frames": [[face]], "image_size": size})
    except FantasyTalkingError:
        return False
    return True
