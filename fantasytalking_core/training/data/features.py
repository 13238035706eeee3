"""What is known of the clips of one video. Every question has two sources: the video's side file, else the encoders."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...errors import FantasyTalkingError
from ...motion import measure
from .clips import Clip
from .encoders import Encoders
from .face_track import FaceTrack
from .side_file import SideFile, side_file_of

GREY = 0.5
"""What stands for the frames that the image model is to make, as in the host's WanImageToVideo."""
FLAT = "its landmarks have no depth: turns of the head count as expression, which reads too high."
DETECTED = 16
"""Whole pictures that the landmark model is given together."""


class Features:
    """Those of one video.

    Attributes:
        caption: the prompt, from `<video's name>.txt`, empty where there is none.
        text: its embedding `[L, text]`.
        notes: what is worth knowing of them.

    Raises:
        FantasyTalkingError: the side file or the caption can't be read, or of something there is neither source. A face
            embedding may be missing.
    """

    def __init__(self, video: Path, encoders: Encoders) -> None:
        self.encoders, self.side = encoders, SideFile.beside(video)
        self.notes: list[str] = self.side.notes()
        wanted = (
            ("features of the prompt", "text", encoders.text or "text" in self.side.tensors, "a text encoder"),
            ("features of the first frame", "clip", encoders.image or "clip" in self.side.tensors, "a CLIP vision model"),
            ("lips", "landmarks or lips", encoders.landmarks or self.side.has_lips, "a landmark model"),
        )
        for what, key, there, model in wanted:
            if not there:
                raise FantasyTalkingError(
                    f"there are no {what}: name {model}, or write {key} into '{side_file_of(video).name}'."
                )
        self.caption = read_caption(video)
        self.text = self._of("text", encoders.text, self.caption)

    def _of(self, key: str, encode: Callable[..., torch.Tensor] | None, *inputs: object) -> torch.Tensor:
        tensor = self.side.get(key)
        if tensor is not None:
            return tensor
        assert encode is not None, f"{key} was looked for when the video was opened"
        return encode(*inputs)

    def latents(self, clip: Clip) -> torch.Tensor:
        """`[16, T, h, w]`."""
        return self.encoders.video(clip.frames)

    def image(self, clip: Clip) -> torch.Tensor:
        """`[16, T, h, w]`, the first frame followed by grey."""
        return self.encoders.video(torch.cat([clip.frames[:1], torch.full_like(clip.frames[1:], GREY)]))

    def image_tokens(self, clip: Clip) -> torch.Tensor:
        """`[257, 1280]`, of the first frame."""
        return self._of("clip", self.encoders.image, clip.frames[0])

    def speech(self, clip: Clip) -> torch.Tensor:
        """`[L, audio]`."""
        return self.encoders.speech(clip.speech)

    def face_track(self, clip: Clip) -> FaceTrack:
        """The face and its lips in every frame, in the clip's pixels; it may lie outside of these."""
        if self.side.has_lips:
            return self.side.face_track(clip)
        return FaceTrack.of_host(self._detected(clip)).moved(-clip.placement.corner.float())

    def _detected(self, clip: Clip) -> dict[str, Any]:
        """The host's FACE_LANDMARKS of the whole pictures."""
        assert self.encoders.landmarks is not None, "landmarks were looked for when the video was opened"
        found = [
            self.encoders.landmarks(torch.from_numpy(clip.pictures[start : start + DETECTED]).float().div_(255))
            for start in range(0, len(clip), DETECTED)
        ]
        return {**found[0], "frames": [faces for each in found for faces in each["frames"]]}

    def face(self, clip: Clip, track: FaceTrack) -> torch.Tensor | None:
        """The embedding `[D]` of the face in the first frame that shows it; None without an encoder or landmarks."""
        known, faces = self.side.get("face"), track.faces
        if known is not None or self.encoders.face is None or faces is None:
            return known
        index, face = next((index, found[0]) for index, found in enumerate(faces.frames) if found)
        return self.encoders.face(clip.frames[index], face.five_points())

    def motion(self, clip: Clip, track: FaceTrack) -> torch.Tensor:
        """`[2]`: variances of face and body (§3.4), NaN where they are not known."""
        known = self.side.get("variances")
        if known is not None:
            return known
        faces, pose = track.faces, self.side.pose(clip)
        if faces is not None and measure.is_flat(faces) and FLAT not in self.notes:
            self.notes.append(FLAT)
        return torch.tensor(
            [
                variance(lambda: None if faces is None else measure.expression(faces)),
                variance(lambda: None if pose is None else measure.body(pose, len(clip))),
            ]
        )


def variance(measured: Callable[[], measure.Measured | None]) -> float:
    """NaN where too few frames show what is measured."""
    try:
        motion = measured()
    except FantasyTalkingError:
        return math.nan
    return motion.variance if motion is not None and math.isfinite(motion.variance) else math.nan


def read_caption(video: Path) -> str:
    """The prompt in `<video's name>.txt` beside a video, empty where there is none."""
    path = video.with_suffix(".txt")
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise FantasyTalkingError(f"'{path.name}' can't be read as UTF-8 text: save it as UTF-8.") from error
