"""What a sampler can see of its inputs that an artist should know before waiting for the result."""

import math

import torch
from comfy.model_patcher import ModelPatcher

from ..adapter.motion import NEUTRAL
from ..motion.notices import untrained
from ..speech.waveform import TRAINED_FRAMES
from .conditioning import MOTION, Conditioning, conds_of, speakers_of
from .patch import adapter_of

PIXELS_PER_TOKEN = 2
"""Latent pixels of a video token, on each side."""


def notices(model: ModelPatcher, positive: Conditioning, is_held: bool = False) -> list[str]:
    """One line for each thing that a result may suffer from.

    Args:
        is_held: a part of the latent stays as it is, as in a dub, which Render does not make.
    """
    lines = missing_clip_vision(all(options.get("clip_vision_output") for _, options in positive))
    lines += untrained_motion(model, positive)
    frames = max((_frames(options) for _, options in positive), default=0)
    if frames > TRAINED_FRAMES and "context_handler" not in model.model_options:
        image = positive[0][1]["concat_latent_image"]
        render = "" if is_held else ", or use FantasyTalking Render"
        lines.append(
            f"{frames} frames at once are {video_tokens(image):,} video tokens; the model was trained on {TRAINED_FRAMES} "
            f"frames. Put Wan Context Windows on the model{render}."
        )
    return lines


def missing_clip_vision(output: object) -> list[str]:
    """What is said where the portrait's image tokens are not there."""
    if output:
        return []
    return ["No clip_vision_output: the person may look different. Wire CLIP Vision Encode with the portrait."]


def untrained_motion(model: ModelPatcher, positive: Conditioning) -> list[str]:
    """What is said where a motion is wired that the adapter holds at neutral."""
    adapter = adapter_of(model)
    rows = [options["model_conds"][MOTION].cond for _, options in positive if MOTION in conds_of(options)]
    if adapter is None or adapter.motion is None or not rows:
        return []
    return untrained(adapter.motion.ranges, (torch.cat(rows) != NEUTRAL).any(0).tolist())


def _frames(options: dict) -> int:
    return max((speaker.speech.frames for speaker in speakers_of(options)), default=0)


def video_tokens(latent: torch.Tensor) -> int:
    """Of a latent `[B, C, T, h, w]`."""
    *_, frames, height, width = latent.shape
    return frames * math.ceil(height / PIXELS_PER_TOKEN) * math.ceil(width / PIXELS_PER_TOKEN)
