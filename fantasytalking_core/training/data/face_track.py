"""The face in the frames of a clip: where it and its lips are, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...face.landmarks import POINTS, Face, FaceLandmarks, face_landmarks
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
        """The first face of each frame of a host's FACE_LANDMARKS, with the detector's score."""
        frames = face_landmarks(value).frames
        points = torch.full((len(frames), POINTS, 3), float("nan"))
        confidence = torch.zeros(len(frames))
        for index, (faces, found) in enumerate(zip(frames, value["frames"], strict=True)):
            if faces:
                points[index], confidence[index] = faces[0].points3d(), float(found[0].get("score", 1.0))
        return cls.of(points, None, confidence)

    @property
    def faces(self) -> FaceLandmarks | None:
        """The landmarks as the rest of the package knows them; sizes of the picture are left out."""
        if self.landmarks is None:
            return None
        pairs = zip(self.landmarks, self.confidence > 0, strict=True)
        frames = [(Face(points[:, :2], points[:, 2]),) if there else () for points, there in pairs]
        return FaceLandmarks(tuple(frames), 0, 0)
