"""A face as image tokens of the host's CLIP vision model: an identity that needs no trained weights."""

from typing import Any

import torch
from einops import rearrange

from ..adapter.identity import CLIP_WIDTH, FaceTokens
from ..errors import FantasyTalkingError
from ..pictures import pictures


def face_tokens(clip_vision: Any, face: torch.Tensor) -> FaceTokens:
    """The penultimate CLIP tokens of face crops `[B, H, W, C]`, those of several crops one after the other.

    Raises:
        FantasyTalkingError: no pictures, or a vision model of another width.
    """
    faces = pictures(face, "face")
    tokens = clip_vision.encode_image(faces)["penultimate_hidden_states"]
    if tokens.ndim != 3 or tokens.shape[-1] != CLIP_WIDTH:
        raise FantasyTalkingError(
            f"The vision model gives tokens of shape {list(tokens.shape)}, Wan2.1 I2V reads {CLIP_WIDTH} per token: load CLIP "
            "ViT-H (clip_vision_h.safetensors), the same one as for the portrait."
        )
    return FaceTokens(rearrange(tokens.float().cpu(), "b n c -> (b n) c"))
