"""A clip and all that is known of it to a training sample, or why it can't be one."""

import math
from collections.abc import Callable
from pathlib import Path

import torch

from .. import motion_from_video
from ..errors import FantasyTalkingError
from .cache import Sample
from .clips import Clip
from .encoders import Encoders
from .faces import FaceTrack
from .lip_mask import lip_mask
from .side_file import SideFile, side_file_of

GREY = 0.5
"""What stands for the frames that the image model is to make, as in the host's WanImageToVideo."""


def check_supply(side: SideFile, encoders: Encoders, video: Path) -> None:
    """Refuse a video of which something is neither in its side file nor computed. A face embedding may be missing."""
    wanted = (
        ("features of the prompt", "text", encoders.text or "text" in side.tensors, "a text encoder"),
        ("features of the first frame", "clip", encoders.image or "clip" in side.tensors, "a CLIP vision model"),
        ("lips", "landmarks or lips", encoders.landmarks or side.has_lips, "a landmark model"),
    )
    for what, key, there, model in wanted:
        if not there:
            raise FantasyTalkingError(f"there are no {what}: name {model}, or write {key} into '{side_file_of(video).name}'.")


def make_sample(
    clip: Clip, side: SideFile, text: torch.Tensor, encoders: Encoders, min_confidence: float, dtype: torch.dtype
) -> Sample:
    """What the side file does not have is computed (see `check_supply`), what a clip may be left out for first.

    Args:
        text: the prompt's embedding.
        min_confidence: that the face must have in the mean over the frames.
        dtype: of all but the face embedding and the motion.

    Raises:
        FantasyTalkingError: the clip is no good, and why.
    """
    _, height, width, _ = clip.frames.shape
    if clip.silent:
        raise FantasyTalkingError("its sound is silent.")
    track = side.face_track(clip) if side.has_lips else FaceTrack.of_host(encoders.landmarks(clip.frames))
    confidence = float(track.confidence.mean())
    if not (track.confidence > 0).any():
        raise FantasyTalkingError("it shows no face.")
    if confidence < min_confidence:
        raise FantasyTalkingError(f"its face has a confidence of {confidence:.2f}, expected at least {min_confidence:g}.")
    lips = lip_mask(track.lips, height, width)
    if not lips.any():
        raise FantasyTalkingError("its mouth lies outside of the picture.")
    shown = clip.frames[:1]
    image_tokens, face = side.get("clip"), side.get("face")
    big = {
        "latents": encoders.video(clip.frames),
        "image": encoders.video(torch.cat([shown, torch.full_like(clip.frames[1:], GREY)])),
        "text": text,
        "clip": encoders.image(shown[0]) if image_tokens is None else image_tokens,
        "speech": encoders.speech(clip.speech),
        "lips": lips,
    }
    big = {name: tensor.detach().to("cpu", dtype) for name, tensor in big.items()}
    face = face_of(clip, track, encoders) if face is None else face
    for name, tensor in {**big, **({} if face is None else {"face": face})}.items():
        if not torch.isfinite(tensor).all():
            raise FantasyTalkingError(f"its {name} hold NaN or infinite numbers: the model that makes them is broken.")
    return Sample(**big, motion=motion_of(clip, side, track), face=None if face is None else face.float().cpu())


def face_of(clip: Clip, track: FaceTrack, encoders: Encoders) -> torch.Tensor | None:
    """The embedding of the face in the first frame that shows it, if there are an encoder and landmarks."""
    if encoders.face is None or track.faces is None:
        return None
    index, face = next((index, faces[0]) for index, faces in enumerate(track.faces.frames) if faces)
    return encoders.face(clip.frames[index], face.five_points())


def motion_of(clip: Clip, side: SideFile, track: FaceTrack) -> torch.Tensor:
    """`[2]`: variances of face and body (§3.4), NaN where they are not known."""
    variances = side.get("variances")
    if variances is not None:
        return variances
    faces, pose = track.faces, side.pose(clip)
    return torch.tensor([
        _variance(lambda: None if faces is None else motion_from_video.expression(faces)),
        _variance(lambda: None if pose is None else motion_from_video.body(pose, len(clip.frames))),
    ])


def _variance(measure: Callable[[], motion_from_video.Measured | None]) -> float:
    try:
        measured = measure()
    except FantasyTalkingError:  # too few frames show it
        return math.nan
    return measured.variance if measured is not None and math.isfinite(measured.variance) else math.nan
