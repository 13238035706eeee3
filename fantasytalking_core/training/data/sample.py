"""A clip and its features to a training sample, or why it can't be one."""

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ...errors import FantasyTalkingError
from ...files import write_tensors
from .clips import Clip
from .cuts import first_cut
from .face_track import FaceTrack
from .features import Features
from .lip_mask import lip_mask


@dataclass(frozen=True, eq=False)
class Sample:
    """One training clip, on the CPU.

    Attributes:
        latents: `[16, T, h, w]`, the video in the space that the DiT sees.
        image: `[16, T, h, w]`, the first frame followed by grey, as WanImageToVideo's `concat_latent_image`, in the same
            space.
        text: `[L, text]`, the prompt's embedding without the zero rows that it is padded with.
        clip: `[257, 1280]`, image tokens of the first frame.
        speech: `[L, audio]`, Wav2Vec2 tokens of the clip's sound.
        lips: `[T, h, w]` in [0, 1], the lip mask at latent resolution (Eq. 2).
        motion: `[2]`, variances of face and body (`motion_from_video`), NaN where unknown.
        face: `[D]`, the face embedding, or None.
    """

    latents: torch.Tensor
    image: torch.Tensor
    text: torch.Tensor
    clip: torch.Tensor
    speech: torch.Tensor
    lips: torch.Tensor
    motion: torch.Tensor
    face: torch.Tensor | None = None

    def save(self, path: Path) -> None:
        """Write the file, complete or not at all. Raises OSError, also where the disk is full."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        write_tensors(path, {key: value for key, value in tensors.items() if value is not None})

    @classmethod
    def load(cls, path: Path) -> "Sample":
        """Raises FantasyTalkingError where the file is missing or damaged."""
        return cls(**read_tensors(path, {f.name for f in fields(cls)} - {"face"}))


def read_tensors(path: Path, needed: set[str]) -> dict[str, torch.Tensor]:
    """Raises FantasyTalkingError where a file of the cache is missing, damaged or lacks something."""
    try:
        with safe_open(path, framework="pt") as file:
            keys = file.keys()
            tensors = {key: file.get_tensor(key) for key in keys}
    except (OSError, SafetensorError) as error:
        raise FantasyTalkingError(f"'{path}' of the training cache can't be read: run prepare again.") from error
    if missing := needed - tensors.keys():
        raise FantasyTalkingError(f"'{path}' of the training cache lacks {', '.join(sorted(missing))}: run prepare again.")
    return tensors


def make_sample(clip: Clip, features: Features, min_confidence: float, dtype: torch.dtype) -> Sample:
    """A clip, cut around its face, as a sample. What it may be left out for is looked at first, before anything is encoded.

    Args:
        features: of the clip's video.
        min_confidence: that the face must have in the mean over the frames.
        dtype: of all but the face embedding and the motion.

    Raises:
        FantasyTalkingError: the clip is no good, and why.
    """
    if clip.silent:
        raise FantasyTalkingError("its sound is silent.")
    if (cut := first_cut(clip.pictures, clip.sources.numpy())) is not None:
        raise FantasyTalkingError(f"it holds a cut at {clip.time(cut):.2f} s.")
    clip, track = around_the_face(clip, features.face_track(clip))
    confidence = float(track.confidence.mean())
    if not (track.confidence > 0).any():
        raise FantasyTalkingError("it shows no face.")
    if confidence < min_confidence:
        raise FantasyTalkingError(f"its face has a confidence of {confidence:.2f}, expected at least {min_confidence:g}.")
    lips = lip_mask(track.lips, clip.placement.height, clip.placement.width)
    if not lips.any():
        raise FantasyTalkingError("its mouth lies outside of the picture.")
    big = {
        "latents": features.latents(clip),
        "image": features.image(clip),
        "text": features.text,
        "clip": features.image_tokens(clip),
        "speech": features.speech(clip),
        "lips": lips,
    }
    big = {name: tensor.detach().to("cpu", dtype) for name, tensor in big.items()}
    face = features.face(clip, track)
    for name, tensor in {**big, **({} if face is None else {"face": face})}.items():
        if not torch.isfinite(tensor).all():
            raise FantasyTalkingError(f"its {name} hold NaN or infinite numbers: the model that makes them is broken.")
    return Sample(**big, motion=features.motion(clip, track), face=None if face is None else face.float().cpu())


def around_the_face(clip: Clip, track: FaceTrack) -> tuple[Clip, FaceTrack]:
    """A clip that is cut around the middle of its face's track, and the track in it; in the middle where there is no face."""
    if (middle := track.middle) is None:
        return clip, track
    placed = clip.around(*middle)
    return placed, track.moved((clip.placement.corner - placed.placement.corner).float())
