"""The host's own face landmarker (MediaPipe): its file, where the host's loader lists it, and the faces that it finds."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import torch

from ..errors import FantasyTalkingError, first_line
from ..face.find import Landmarker
from . import folders
from .folders import Place

FILE, STEM = "mediapipe_face_fp32.safetensors", "mediapipe_face"
PUBLISHED = "https://huggingface.co/Comfy-Org/mediapipe"
PLACE = Place("detection", "face landmarker", f"put {FILE} into ComfyUI/models/detection; it is published at {PUBLISHED}.")
BATCH = 16
"""Pictures that are looked at together, as by the host's node."""
SCORE = 0.5
"""From which on a face is one, as by default in the host's node."""
FACES, ALL = 4, 0
"""That are looked for in a frame of a clip: the one that it is of is known when it is followed through the frames. And what the
host calls all."""


def landmarker() -> Landmarker:
    """The detector in the host's folder, or why there is none."""
    try:
        return Landmarker(landmark_detector(_file(), ALL))
    except FantasyTalkingError as error:
        return Landmarker(missing=str(error))


def _file() -> Path:
    named = [name for name in folders.files(PLACE.key) if os.path.basename(name).startswith(STEM)]
    for name in sorted(named, key=lambda name: (os.path.basename(name) != FILE, name)):
        if path := folder_paths.get_full_path(PLACE.key, name):
            return Path(path)
    raise FantasyTalkingError(PLACE.empty)


def landmark_detector(path: Path, num_faces: int = FACES) -> Callable[[torch.Tensor], dict[str, Any]]:
    """Pictures `[B, H, W, 3]` in [0, 1] to the host's FACE_LANDMARKS, of up to `num_faces` faces in each (0: of all).

    The host's detector for near faces looks first, the one for far ones where it found none.

    Raises:
        FantasyTalkingError: the host has none, or the file is broken or of another kind.
    """
    try:
        from comfy_extras.nodes_mediapipe import FaceLandmarkerModel
    except ImportError as error:
        raise FantasyTalkingError("This ComfyUI has no face landmarker (MediaPipe): update it to 0.30 or newer.") from error
    try:
        model = FaceLandmarkerModel(comfy.utils.load_torch_file(str(path), safe_load=True))
    except Exception as error:
        raise FantasyTalkingError(
            f"'{path.name}' can't be loaded ({first_line(error)}), expected the face landmarker that the host's Load Face "
            f"Detection Model reads: download it again, it is published at {PUBLISHED}."
        ) from error

    @torch.inference_mode()
    def detect(pictures: torch.Tensor) -> dict[str, Any]:
        bytes_ = list((pictures * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy())
        look = partial(_look, model, num_faces)
        found = look(bytes_, "short")
        missed = [index for index, faces in enumerate(found) if not faces]
        for index, faces in zip(missed, look([bytes_[index] for index in missed], "full"), strict=True):
            found[index] = faces
        return {"frames": found, "image_size": tuple(pictures.shape[1:3]), "connection_sets": model.connection_sets}

    return detect


def _look(model: Any, num_faces: int, pictures: list[np.ndarray], variant: str) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    for start in range(0, len(pictures), BATCH):
        comfy.model_management.throw_exception_if_processing_interrupted()
        batch = pictures[start : start + BATCH]
        found += model.detect_batch(batch, num_faces=num_faces, score_thresh=SCORE, variant=variant)
    return found
