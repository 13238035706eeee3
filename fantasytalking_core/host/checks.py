"""What is refused before anything expensive starts: models, speech and faces that do not fit the adapter."""

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from ..adapter.adapter import Adapter
from ..adapter.audio import AudioWidths
from ..adapter.identity import CLIP_WIDTH, FaceTokens, Identity
from ..errors import FantasyTalkingError, short
from ..latent_grid import video_frames
from ..speech.speech import Speech

IMAGE_TO_VIDEO = "Wan2.1 I2V 14B (480p or 720p)"
IMAGE_TO_VIDEO_CHANNELS = 36
"""Of noise (16), the portrait's latent (16) and its mask (4)."""


def uncompiled(dit: Any) -> Any:
    """The DiT itself, also where it was compiled."""
    return getattr(dit, "_orig_mod", dit)


def check_model(model: ModelPatcher, widths: AudioWidths) -> None:
    """Refuse a MODEL that the adapter does not fit."""
    has_dit = hasattr(model.model, "diffusion_model")  # an adapter or a VAE on the socket has none
    dit = uncompiled(model.get_model_object("diffusion_model")) if has_dit else model.model
    kind = type(dit).__name__
    if kind != "WanModel":
        raise FantasyTalkingError(f"The model is a {kind}, expected a Wan I2V DiT: load {IMAGE_TO_VIDEO}.")
    if dit.img_emb is None:
        raise FantasyTalkingError(
            f"The model is a Wan T2V or Wan2.2 one, which does not read the portrait's image tokens: load {IMAGE_TO_VIDEO}."
        )
    channels = dit.patch_embedding.in_channels
    if channels != IMAGE_TO_VIDEO_CHANNELS:
        raise FantasyTalkingError(
            f"The model takes {channels} channels, as Fun-Control models do, expected {IMAGE_TO_VIDEO_CHANNELS} (noise, "
            f"portrait and mask): load {IMAGE_TO_VIDEO}."
        )
    if (widths.model, widths.blocks) != (dit.dim, len(dit.blocks)):
        raise FantasyTalkingError(
            f"The adapter was made for a DiT of {widths.blocks} blocks of width {widths.model}, the model has "
            f"{len(dit.blocks)} of width {dit.dim}: load {IMAGE_TO_VIDEO}, or an adapter made for this model."
        )


def check_conditioning(value: Any, name: str, source: str) -> None:
    """Refuse what is no CONDITIONING with at least one item: over the API, any constant may be.

    Args:
        name: of the input.
        source: the node whose output belongs there.
    """
    items = value if isinstance(value, list | tuple) else ()
    if not items or not all(map(_is_item, items)):
        raise FantasyTalkingError(f"{name} is {short(value)}, expected a CONDITIONING: wire the output of {source}.")
    if not all(torch.isfinite(text).all() for text, _ in items):
        raise FantasyTalkingError(
            f"The {name} prompt holds NaN or infinite numbers: the text encoder's file is broken, load another one."
        )


def _is_item(item: Any) -> bool:
    """A prompt's embedding `[1, rows, width]` and its options."""
    is_pair = isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[1], dict)
    return is_pair and isinstance(item[0], torch.Tensor) and item[0].ndim == 3 and item[0].is_floating_point()


def check_latent(value: Any) -> None:
    """Refuse what is no LATENT of a video."""
    samples = value.get("samples") if isinstance(value, dict) else None
    if not isinstance(samples, torch.Tensor) or samples.ndim != 5 or 0 in samples.shape:
        came = list(samples.shape) if isinstance(samples, torch.Tensor) else short(value)
        raise FantasyTalkingError(
            f"latent_image is {came}, expected a LATENT [batch, 16, frames, height, width]: wire WanImageToVideo."
        )
    if not torch.isfinite(samples).all():
        raise FantasyTalkingError("latent_image holds NaN or infinite numbers: check where it comes from.")


def check_portrait(conditioning: Any, name: str) -> None:
    """Refuse a conditioning of which an item lacks the portrait, for the model would make up a person, or has seen several."""
    if any(options.get("concat_latent_image") is None for _, options in conditioning):
        raise FantasyTalkingError(
            f"The {name} conditioning carries no portrait, and the model would make up a person: wire it through "
            "WanImageToVideo with a start_image."
        )
    if (count := max((_pictures(options) for _, options in conditioning), default=0)) > 1:
        raise FantasyTalkingError(
            f"The {name} conditioning has seen {count} pictures, and only the first would be followed: wire one portrait into "
            "CLIP Vision Encode and WanImageToVideo, with Get Image from Batch; a picture of two people is for Speaker Masks."
        )


def _pictures(options: Any) -> int:
    """How many the image encoder was given; 0 where that is not known."""
    states = getattr(options.get("clip_vision_output"), "penultimate_hidden_states", None)
    return len(states) if isinstance(states, torch.Tensor) and states.ndim == 3 else 0


def check_speech(speech: Speech, noise_shape: Any, widths: AudioWidths) -> None:
    """Refuse a latent of another length than the speech, and tokens of another encoder than the adapter's."""
    if speech.tokens.ndim != 2 or not len(speech.tokens):
        raise FantasyTalkingError(
            f"The speech has tokens of shape {list(speech.tokens.shape)}, expected [tokens, {widths.audio}]: wire Encode "
            "Speech."
        )
    if not torch.isfinite(speech.tokens).all():
        raise FantasyTalkingError(
            "The speech holds NaN or infinite numbers: the recording or the Wav2Vec2 file is broken, load them again."
        )
    if speech.tokens.shape[-1] != widths.audio:
        raise FantasyTalkingError(
            f"The speech has tokens of width {speech.tokens.shape[-1]}, the adapter hears {widths.audio}: "
            "load wav2vec2-base-960h (768) in the Wav2Vec2 loader."
        )
    if len(noise_shape) != 5 or noise_shape[2] != speech.latent_frames:
        found = f"for {video_frames(noise_shape[2])} frames" if len(noise_shape) == 5 else f"of shape {list(noise_shape)}"
        raise FantasyTalkingError(
            f"The latent is {found}, the speech for {speech.frames}: wire the length output of Encode Speech into the "
            "length of WanImageToVideo."
        )


def check_motion(adapter: Adapter) -> None:
    """Refuse coefficients that the adapter has no weights for."""
    if adapter.motion is None:
        raise FantasyTalkingError(
            "The adapter has no motion weights (the published one has none), and motion is wired: leave motion unwired, or "
            "load an adapter that was trained with motion."
        )


def check_identity(identity: Identity, adapter: Adapter) -> None:
    """Refuse a face embedding that the adapter has no weights for, and a face of no numbers."""
    values = getattr(identity, "tokens", getattr(identity, "vector", None))
    shape = (-1, CLIP_WIDTH) if isinstance(identity, FaceTokens) else (-1,)
    if not isinstance(values, torch.Tensor) or values.ndim != len(shape) or shape[-1] not in (-1, values.shape[-1]):
        raise FantasyTalkingError(f"identity is {short(identity)}, expected the output of Encode Face: wire it.")
    if not torch.isfinite(values).all():
        raise FantasyTalkingError(
            "The face holds NaN or infinite numbers: the picture, or the model that encodes it, is broken. Load them again."
        )
    if isinstance(identity, FaceTokens):
        return
    if adapter.identity is None:
        raise FantasyTalkingError(
            "The adapter has no identity weights (the published one has none), and the identity is a face embedding: "
            "encode the face with Encode Face (CLIP), which needs none, or load an adapter that was trained with "
            "identity."
        )
    width, expected = identity.vector.shape[-1], adapter.identity.widths.embedding
    if width != expected:
        raise FantasyTalkingError(
            f"The face embedding has width {width}, the adapter's identity weights expect {expected}: load the face "
            "encoder that the adapter was trained with."
        )
    if identity.encoder and adapter.face_encoder and identity.encoder != adapter.face_encoder:
        raise FantasyTalkingError(
            f"The face was encoded with {short(identity.encoder)}, the adapter's identity weights were trained with "
            f"{short(adapter.face_encoder)}: load that file in the Face Encoder Loader."
        )
