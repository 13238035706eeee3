"""Pictures in: the host's IMAGE as what the face nodes work on."""

import torch

from .errors import FantasyTalkingError

MIN_PICTURE_SIDE = 64
"""Pixels; in anything smaller there is no face to be recognised."""


def pictures(image: object, what: str = "image") -> torch.Tensor:
    """The pictures of a host's IMAGE as `[B, H, W, 3]`, float32 in [0, 1].

    A grey picture (one channel) gets three equal channels, and an alpha channel is left out, as by the host.

    Args:
        what: the name of the input, for the error.

    Raises:
        FantasyTalkingError: no IMAGE, an empty one, or of another number of channels.
    """
    if not isinstance(image, torch.Tensor) or image.ndim != 4 or 0 in image.shape:
        found = list(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise FantasyTalkingError(f"{what} is {found}, expected an IMAGE [batch, height, width, 3]: wire Load Image.")
    channels = image.shape[-1]
    if channels not in (1, 3, 4):
        raise FantasyTalkingError(f"{what} has {channels} channels, expected 3 (RGB): convert it, or wire Load Image.")
    image = image.to(torch.float32).nan_to_num().clamp(0, 1)
    return image.expand(-1, -1, -1, 3) if channels == 1 else image[..., :3]
