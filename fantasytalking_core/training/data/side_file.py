"""What is known of a video already: `<video's name>.safetensors` beside it, in place of a detector or an encoder.

| key          | shape                        | what                                                            |
|--------------|------------------------------|-----------------------------------------------------------------|
| `landmarks`  | `[N, 478, 2]`, `[N, 478, 3]` | MediaPipe's face mesh: x, y (and depth) in pixels               |
| `lips`       | `[N, K, 2]`                  | outline of the lips, in order, for faces without a face mesh    |
| `confidence` | `[N]`                        | of the face, 0 to 1; without it, 1 in every frame with a face   |
| `joints`     | `[N, 18, 3]`                 | OpenPose's body: x, y in pixels, score                          |
| `variances`  | `[2]`                        | of face and body, as measured by `motion_from_video`            |
| `text`       | `[L, text]`                  | the prompt's embedding                                          |
| `clip`       | `[257, 1280]`                | CLIP's image tokens, for all clips of the video                 |
| `face`       | `[D]`                        | the face embedding                                              |

All keys are optional. N is the number of frames of the video, at its own rate; pixels are those of its own pictures as
they are stored and a player turns them, counted from the corner of the first one: where pixels are not square (720×576
shown as 1024×576), not those of the picture on the screen. NaN is a frame without a face, or a joint or a variance that
is not known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...adapter.identity import CLIP_TOKENS, CLIP_WIDTH
from ...errors import FantasyTalkingError
from ...face.landmarks import POINTS
from ...motion.measure import JOINTS
from .clips import Clip
from .face_track import FaceTrack

SHAPES: Mapping[str, tuple[tuple[int | str, ...], ...]] = {
    "landmarks": (("N", POINTS, 2), ("N", POINTS, 3)),
    "lips": (("N", "K", 2),),
    "confidence": (("N",),),
    "joints": (("N", JOINTS, 3),),
    "variances": ((2,),),
    "text": (("L", "text"),),
    "clip": ((CLIP_TOKENS, CLIP_WIDTH),),
    "face": (("D",),),
}
PER_FRAME = tuple(key for key, shapes in SHAPES.items() if shapes[0][0] == "N")
NO_CONFIDENCE = "its side file holds no confidence: every frame with a face counts as sure."
MAY_BE_UNKNOWN = (*PER_FRAME, "variances")
"""Keys in which NaN has a meaning."""


@dataclass(frozen=True, eq=False)
class SideFile:
    """The tensors of one, float32; none where there is no such file."""

    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def beside(cls, video: Path) -> "SideFile":
        """Raises FantasyTalkingError where the file can't be read, or holds something of another shape."""
        path = side_file_of(video)
        try:
            tensors = load_file(path)
        except FileNotFoundError:
            return cls()
        except (OSError, SafetensorError) as error:
            raise FantasyTalkingError(f"'{path.name}' can't be read as safetensors: write it anew, or remove it.") from error
        for key, tensor in tensors.items():
            _check(path.name, key, tensor)
        rows = {key: len(tensors[key]) for key in PER_FRAME if key in tensors}
        if len(set(rows.values())) > 1:
            raise FantasyTalkingError(
                f"'{path.name}' is of several lengths, expected the video's frames in each: {_list(rows)}."
            )
        return cls({key: tensor.float() for key, tensor in tensors.items()})

    def get(self, key: str) -> torch.Tensor | None:
        return self.tensors.get(key)

    @property
    def has_lips(self) -> bool:
        return "landmarks" in self.tensors or "lips" in self.tensors

    def notes(self) -> list[str]:
        """What it leaves open."""
        return [NO_CONFIDENCE] if self.has_lips and "confidence" not in self.tensors else []

    def check_frames(self, frames: int) -> None:
        """Refuse a file of another number of frames than the video's."""
        rows = {key: len(self.tensors[key]) for key in PER_FRAME if key in self.tensors and len(self.tensors[key]) != frames}
        if rows:
            raise FantasyTalkingError(
                f"the video has {frames} frames, its side file {_list(rows)}: expected one row per frame."
            )

    def _rows(self, key: str, clip: Clip) -> torch.Tensor | None:
        """What belongs to the frames of a clip."""
        rows = self.tensors.get(key)
        if rows is not None and len(rows) <= int(clip.sources.max()):
            raise FantasyTalkingError(
                f"its side file has {len(rows)} rows of {key}, the video more frames: expected one row per frame."
            )
        return None if rows is None else rows[clip.sources]

    def face_track(self, clip: Clip) -> FaceTrack:
        """Landmarks or lips in the pixels of a clip. Only where `has_lips`."""
        place = clip.placement
        landmarks, lips = self._rows("landmarks", clip), self._rows("lips", clip)
        if landmarks is not None:
            landmarks = torch.cat([place.points(landmarks[..., :2]), landmarks[..., 2:] * place.scale[0]], dim=-1)
        if lips is not None:
            lips = place.points(lips)
        return FaceTrack.of(landmarks, lips, self._rows("confidence", clip))

    def pose(self, clip: Clip) -> list[dict[str, Any]] | None:
        """The joints in a clip as the host's POSE_KEYPOINT, in the pixels of the clip."""
        joints = self._rows("joints", clip)
        if joints is None:
            return None
        unknown = ~torch.isfinite(joints).all(-1, keepdim=True)
        joints = torch.cat([clip.placement.points(joints[..., :2]), joints[..., 2:]], dim=-1).masked_fill(unknown, 0)
        return [{"people": [{"pose_keypoints_2d": person.flatten().tolist()}]} for person in joints]


def side_file_of(video: Path) -> Path:
    return video.with_suffix(".safetensors")


def _check(name: str, key: str, tensor: torch.Tensor) -> None:
    if key not in SHAPES:
        raise FantasyTalkingError(f"'{name}' holds '{key}', expected {', '.join(SHAPES)}: rename it, or leave it out.")
    fits = any(
        len(shape) == tensor.ndim and all(a == b or isinstance(a, str) for a, b in zip(shape, tensor.shape, strict=True))
        for shape in SHAPES[key]
    )
    if not fits or 0 in tensor.shape:
        expected = " or ".join(str(list(shape)).replace("'", "") for shape in SHAPES[key])
        raise FantasyTalkingError(f"'{name}' holds {key} of shape {list(tensor.shape)}, expected {expected}.")
    if key == "lips" and tensor.shape[1] > POINTS:
        raise FantasyTalkingError(f"'{name}' holds lips of {tensor.shape[1]} points, expected an outline of {POINTS} at most.")
    if tensor.is_complex():
        raise FantasyTalkingError(f"'{name}' holds complex numbers in {key}, expected real ones: compute it again.")
    if key not in MAY_BE_UNKNOWN and not torch.isfinite(tensor.float()).all():
        raise FantasyTalkingError(f"'{name}' holds NaN or infinite numbers in {key}: compute it again.")


def _list(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{count} rows of {key}" for key, count in rows.items())
