"""The host's encoders, and the pack's on the host's devices, as `prepare` asks for them.

Their files are found by the names that the host's loaders show, or by a path.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import comfy.clip_vision
import comfy.latent_formats
import comfy.sd
import comfy.utils
import torch
from comfy.ldm.wan.vae import WanVAE

from ..adapter.identity import CLIP_WIDTH
from ..errors import FantasyTalkingError, first_line
from ..face import alignment as face_alignment
from ..face.encoder import read_face_encoder
from ..files import described
from ..latent_grid import LATENT_CHANNELS
from ..speech.wav2vec import is_wav2vec2_folder
from ..training.data.encoders import SIDE_FILE, Encoders
from . import folders
from .face_embedding import embed_faces
from .face_landmarker import landmark_detector
from .folders import model_path, path_or_name
from .loading import load_wav2vec

T = TypeVar("T")


def load_encoders(
    vae: str,
    wav2vec: str,
    text_encoder: str | None = None,
    clip_vision: str | None = None,
    landmarker: str | None = None,
    face_encoder: str | None = None,
) -> Encoders:
    """The encoders of the named files; None: the side files supply what it would give.

    Raises:
        FantasyTalkingError: a file is missing, broken, or of another kind of model.
    """
    video = model_path("vae", vae)
    speech = path_or_name(wav2vec, folders.wav2vec_path, is_wav2vec2_folder)
    paths = {
        "text": None if text_encoder is None else model_path("text_encoders", text_encoder),
        "clip": None if clip_vision is None else model_path("clip_vision", clip_vision),
        "landmarks": None if landmarker is None else model_path("detection", landmarker),
        "face": None if face_encoder is None else path_or_name(face_encoder, folders.face_encoder_path),
    }
    return Encoders(
        video=video_encoder(video),
        speech=speech_encoder(speech),
        text=_if_named(paths["text"], text_encoder_of),
        image=_if_named(paths["clip"], image_encoder),
        landmarks=_if_named(paths["landmarks"], landmark_detector),
        face=_if_named(paths["face"], face_encoder_of),
        models={
            "vae": described(video),
            "wav2vec": described(speech),
            **{part: SIDE_FILE if path is None else described(path) for part, path in paths.items()},
        },
    )


def _if_named(path: Path | None, load: Callable[[Path], T]) -> T | None:
    return None if path is None else load(path)


def _unfit(path: Path, expected: str, error: Exception | None = None) -> FantasyTalkingError:
    why = "is of another kind" if error is None else f"can't be loaded ({first_line(error)})"
    return FantasyTalkingError(f"'{path.name}' {why}, expected {expected}: name another file.")


def video_encoder(path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Frames `[F, H, W, 3]` to latents `[16, T, h, w]` in the space that the DiT sees, by Wan2.1's VAE."""
    expected = "Wan2.1's VAE (wan_2.1_vae.safetensors)"
    try:
        weights, metadata = comfy.utils.load_torch_file(str(path), return_metadata=True)
        vae = comfy.sd.VAE(sd=weights, metadata=metadata)
        vae.throw_exception_if_invalid()
    except Exception as error:  # whatever the host's loaders raise for a broken file
        raise _unfit(path, expected, error) from error
    if not isinstance(vae.first_stage_model, WanVAE) or vae.latent_channels != LATENT_CHANNELS:
        raise _unfit(path, expected)
    space = comfy.latent_formats.Wan21()

    @torch.inference_mode()
    def encode(frames: torch.Tensor) -> torch.Tensor:
        return space.process_in(vae.encode(frames).float().cpu())[0]

    return encode


def speech_encoder(path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Mono samples at 16 kHz to Wav2Vec2 tokens `[L, width]`."""
    return load_wav2vec(path).encode


def text_encoder_of(path: Path) -> Callable[[str], torch.Tensor]:
    """A prompt to its embedding `[L, 4096]`, by UMT5-XXL; brackets and colons in it are text and no weights."""
    expected = "UMT5-XXL (umt5_xxl_fp8_e4m3fn_scaled.safetensors)"
    try:
        clip = comfy.sd.load_clip([str(path)], clip_type=comfy.sd.CLIPType.WAN)
    except Exception as error:
        raise _unfit(path, expected, error) from error
    if not hasattr(clip.cond_stage_model, "umt5xxl"):
        raise _unfit(path, expected)

    @torch.inference_mode()
    def encode(prompt: str) -> torch.Tensor:
        return without_padding(clip.encode_from_tokens(clip.tokenize(prompt, disable_weights=True))[0].float().cpu())

    return encode


def without_padding(rows: torch.Tensor) -> torch.Tensor:
    """`[L, D]` without the zero rows at its end, at least one row."""
    used = rows.ne(0).any(-1).nonzero()
    return rows[: int(used.max()) + 1 if len(used) else 1].clone()


def image_encoder(path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """A picture `[H, W, 3]` to the image tokens `[257, 1280]` of CLIP ViT-H, uncropped as in the pack's workflows."""
    expected = "CLIP ViT-H (clip_vision_h.safetensors)"
    try:
        model = comfy.clip_vision.load(str(path))
    except Exception as error:
        raise _unfit(path, expected, error) from error
    if model is None or model.config.get("hidden_size") != CLIP_WIDTH:
        raise _unfit(path, expected)

    @torch.inference_mode()
    def encode(picture: torch.Tensor) -> torch.Tensor:
        return model.encode_image(picture[None], crop=False)["penultimate_hidden_states"][0].float().cpu()

    return encode


def face_encoder_of(path: Path) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A picture `[H, W, 3]` and the five points in it to the embedding `[D]` of the aligned face."""
    encoder = read_face_encoder(path)

    def encode(picture: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        faces = face_alignment.faces(picture[None], [points])
        return embed_faces(faces, encoder).vector

    return encode
