"""A stand-in for the host's face landmarker, of which nobody may have the weights: it finds what a test says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from fantasytalking_core.face.find import Landmarker

from .faces import face, landmarks

FILE = "mediapipe_face_fp32.safetensors"
CONNECTIONS = {"lips": frozenset({(61, 146)})}


class StandIn:
    """In the place of the host's `FaceLandmarkerModel`.

    Attributes:
        near, far: what the detectors for near and for far faces find next, per picture the points of its faces.
        asked: size, number and kind of detector of every call.
    """

    connection_sets = CONNECTIONS

    def __init__(self) -> None:
        self.near: list[Sequence[np.ndarray]] = []
        self.far: list[Sequence[np.ndarray]] = []
        self.asked: list[tuple] = []

    def __call__(self, weights: dict[str, torch.Tensor]) -> "StandIn":
        """Made of a file's weights."""
        assert set(weights) == {"weights"}
        return self

    def detect_batch(self, images: list[np.ndarray], num_faces: int, score_thresh: float, variant: str) -> list[list[dict]]:
        assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in images) and score_thresh == 0.5
        self.asked.append((images[0].shape[:2] if images else None, len(images), num_faces, variant))
        queue = self.near if variant == "short" else self.far
        return [[face(np.asarray(xy, np.float32)) for xy in (queue.pop(0) if queue else [])] for _ in images]


def install(models: Path, monkeypatch) -> StandIn:
    """The stand-in, with a file where the host looks for the landmarker's."""
    import comfy_extras.nodes_mediapipe

    path = models / "detection" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"weights": torch.zeros(1)}, path)
    stand_in = StandIn()
    monkeypatch.setattr(comfy_extras.nodes_mediapipe, "FaceLandmarkerModel", stand_in)
    return stand_in


def that_finds(*frames: Sequence[np.ndarray]):
    """What gives a detector that finds these faces in the pictures that it is handed."""

    def detect(pictures: torch.Tensor) -> dict:
        assert len(pictures) == len(frames)
        return {**landmarks(*frames, size=tuple(pictures.shape[1:3])), "connection_sets": CONNECTIONS}

    return lambda: Landmarker(detect)


def that_is_missing() -> Landmarker:
    return Landmarker(missing="It is missing.")
