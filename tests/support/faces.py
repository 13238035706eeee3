"""Faces as the host's MediaPipe nodes describe them, with points where the tests want them; and cut out."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.face.crop import cut_out, preview, squares
from fantasytalking_core.face.find import choose, find_faces
from fantasytalking_core.pictures import pictures

POINTS = 478
NAMED = {
    33: (0.22, 0.4),
    133: (0.38, 0.4),
    362: (0.62, 0.4),
    263: (0.78, 0.4),
    1: (0.5, 0.6),
    61: (0.35, 0.8),
    291: (0.65, 0.8),
}
"""Eye corners from left to right, nose tip, mouth corners, as parts of the face's box."""


def points(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """`[478, 2]` of an upright face that fills a box: the named points, and an oval for all others."""
    angles = np.arange(POINTS) * np.pi / 2 + (np.arange(POINTS) // 4) * np.pi / 2 / (POINTS // 4 + 1)
    parts = 0.5 + 0.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    parts[len(parts) - 4 :] = (0, 0.5), (1, 0.5), (0.5, 0), (0.5, 1)
    for index, part in NAMED.items():
        parts[index] = part
    return (np.array([left, top]) + parts * np.array([right - left, bottom - top])).astype(np.float32)


def face(xy: np.ndarray) -> dict:
    return {
        "bbox_xyxy": np.concatenate([xy.min(0), xy.max(0)]),
        "blendshapes": {},
        "landmarks_xy": xy,
        "landmarks_3d": np.concatenate([xy, np.zeros((len(xy), 1), np.float32)], axis=1),
        "presence": 1.0,
        "score": 1.0,
        "transformation_matrix": np.eye(4, dtype=np.float32),
    }


def landmarks(*frames: Sequence[np.ndarray], size: tuple[int, int]) -> dict:
    """FACE_LANDMARKS of a batch: for each picture the points of its faces; `size` is height, width."""
    return {"frames": [[face(xy) for xy in frame] for frame in frames], "image_size": size, "connection_sets": {}}


def square(mask: torch.Tensor) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is 1 in a mask `[H, W]`, which must be a filled box."""
    rows, columns = mask.any(1).nonzero().flatten().tolist(), mask.any(0).nonzero().flatten().tolist()
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    assert mask.sum() == (right - left) * (bottom - top) and mask[top:bottom, left:right].min() == 1
    return left, top, right, bottom


def crop(image, padding=0.3, face_index=0, mask=None, face_landmarks=None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Faces, masks and previews of a host's IMAGE, as FantasyTalking Crop Face has them."""
    portraits = pictures(image)
    found, _ = find_faces(portraits, mask, face_landmarks)
    crops = squares(portraits, choose(found, face_index), padding)
    masks = [crop.mask(portrait) for portrait, crop in zip(portraits, crops)]
    previews = [preview(portrait, one.boxes, face_index, crop) for portrait, one, crop in zip(portraits, found, crops)]
    return cut_out(portraits, crops), torch.stack(masks), torch.stack(previews)


def refusal_of_crop(*args, **kwargs) -> str:
    """What is said of what can't be cropped."""
    with pytest.raises(FantasyTalkingError) as error:
        crop(*args, **kwargs)
    return str(error.value)
