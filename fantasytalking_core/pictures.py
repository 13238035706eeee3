"""Pictures in: the host's IMAGE as what the face nodes work on."""

from collections.abc import Sequence
from typing import TypeGuard

import torch

from .errors import FantasyTalkingError

MIN_PICTURE_SIDE = 64
"""Pixels; in anything smaller there is no face to be recognised."""
OVERSHOOT = 0.5
"""How far values may lie outside of 0 to 1, and are cut off: sharpening and bicubic scaling go a little beyond."""


def pictures(image: object, what: str = "image") -> torch.Tensor:
    """The pictures of a host's IMAGE as `[B, H, W, 3]`, float32 in [0, 1].

    A grey picture (one channel) gets three equal channels, and an alpha channel is left out, as by the host.

    Args:
        what: the name of the input, for the error.

    Raises:
        FantasyTalkingError: no IMAGE, an empty one, or of other channels or values.
    """
    if not is_plain(image) or not image.is_floating_point() or image.ndim != 4 or 0 in image.shape:
        raise FantasyTalkingError(f"{what} is {kind(image)}, expected an IMAGE [batch, height, width, 3]: wire Load Image.")
    channels = image.shape[-1]
    if channels not in (1, 3, 4):
        raise FantasyTalkingError(f"{what} has {channels} channels, expected 3 (RGB): convert it, or wire Load Image.")
    image = image.detach().to(torch.float32)
    low, high = (float(value) for value in image.aminmax())
    if not low >= -OVERSHOOT or not high <= 1 + OVERSHOOT:  # as NaN neither is
        raise FantasyTalkingError(
            f"{what} has values from {low:g} to {high:g}, expected 0 to 1: scale them, or make the picture anew (a VAE that "
            "overflows in half precision gives nan)."
        )
    image = image.clamp(0, 1)
    return image.expand(-1, -1, -1, 3) if channels == 1 else image[..., :3]


def is_plain(value: object) -> TypeGuard[torch.Tensor]:
    """Whether it is a tensor of real numbers that lie in memory."""
    return (
        isinstance(value, torch.Tensor)
        and not value.is_nested
        and value.layout == torch.strided
        and not value.is_meta
        and not value.is_complex()
    )


def kind(value: object) -> str:
    """What an input is, for an error."""
    if not isinstance(value, torch.Tensor):
        return type(value).__name__[:80]
    if value.is_nested or value.layout != torch.strided or value.is_meta:
        return "a tensor of another layout"
    type_ = "" if value.is_floating_point() else f" of {str(value.dtype).removeprefix('torch.')}"
    return f"{list(value.shape)}{type_}"


def which(numbers: Sequence[int], count: int) -> str:
    """Some of `count` pictures, counted from 1, in a message."""
    if count == 1:
        return "the picture"
    return f"picture {numbers[0]} of {count}" if len(numbers) == 1 else f"{len(numbers)} of {count} pictures"
