"""A video that is to be dubbed, as the host's sampler takes it: its own latents, and where they are made anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from comfy.sd import VAE
from einops import reduce

from ..errors import FantasyTalkingError
from ..latent_grid import LATENT_CHANNELS, MULTIPLE, SPATIAL, TEMPORAL, clip_length_from, nearest_sides
from ..pictures import is_plain, kind
from ..speech.speaker import ROUNDING
from ..speech.waveform import TRAINED_FRAMES


@dataclass(frozen=True, eq=False)
class Dub:
    """A video and what of it is made anew.

    Attributes:
        frames: `[F, H, W, 3]` in [0, 1]; H and W are multiples of 16.
        mask: `[1, H, W]` for all frames or `[F, H, W]`, in [0, 1]: 1 where the picture is made anew.
    """

    frames: torch.Tensor
    mask: torch.Tensor

    @classmethod
    def of(cls, frames: torch.Tensor, mask: Any) -> "Dub":
        """Of the pictures `[F, H, W, 3]` and a host's MASK.

        Raises:
            FantasyTalkingError: sides that are no multiples of 16, no MASK, one of another number or size, or an empty one.
        """
        count, height, width, _ = frames.shape
        if width % MULTIPLE or height % MULTIPLE:
            near = "×".join(map(str, nearest_sides(width, height)))
            raise FantasyTalkingError(
                f"images are {width}×{height} pixels, expected multiples of {MULTIPLE}: crop or scale the video first, for "
                f"example to {near}."
            )
        if not is_plain(mask) or mask.ndim not in (2, 3) or 0 in mask.shape:
            raise FantasyTalkingError(f"mask is {kind(mask)}, expected a MASK [1 or frames, height, width]: wire Mouth Mask.")
        mask = mask.detach().float()
        masks = mask[None] if mask.ndim == 2 else mask
        if len(masks) not in (1, count):
            raise FantasyTalkingError(
                f"mask has {len(masks)} pictures, images {count}: expected one for all frames or one for each."
            )
        if masks.shape[1:] != (height, width):
            raise FantasyTalkingError(
                f"mask is {masks.shape[2]}×{masks.shape[1]} pixels, images are {width}×{height}: make the mask of these "
                "images, after they were scaled."
            )
        if not ((masks >= -ROUNDING) & (masks <= 1 + ROUNDING)).all():  # as NaN is not
            raise FantasyTalkingError("mask holds numbers outside of 0 to 1, expected 1 where the mouth is and 0 elsewhere.")
        masks = masks.clamp(0, 1)
        if not masks.any():
            raise FantasyTalkingError(
                "mask is empty, and nothing would be dubbed: look at it with Preview Mask, and at the landmarks that it is of."
            )
        return cls(frames, masks)

    @property
    def length(self) -> int:
        """Frames of the latent's clip: 4n + 1, at least as many as there are."""
        return clip_length_from(len(self.frames))

    def padded(self) -> torch.Tensor:
        """`[length, H, W, 3]`: the last frame stands still at the end."""
        return _padded(self.frames, self.length)

    def noise_mask(self) -> torch.Tensor:
        """`[1, 1, T, H / 8, W / 8]` float32: what the host's sampler takes as it is.

        A latent pixel is 1 where any of its 8 × 8 pixels is, in any of its four frames; the first frame stands alone.
        """
        mask = self.mask.expand(self.length, -1, -1) if len(self.mask) == 1 else _padded(self.mask, self.length)
        cells = reduce(mask, "f (h y) (w x) -> f h w", "max", y=SPATIAL, x=SPATIAL)
        latent = torch.cat([cells[:1], reduce(cells[1:], "(t four) h w -> t h w", "max", four=TEMPORAL)])
        return latent[None, None]

    def latent(self, vae: VAE) -> Mapping[str, torch.Tensor]:
        """The host's LATENT: `samples` `[1, 16, T, H / 8, W / 8]` by its own VAE, and `noise_mask`.

        Raises:
            FantasyTalkingError: the VAE is none of Wan2.1.
        """
        if (vae.latent_channels, vae.latent_dim, vae.spacial_compression_encode()) != (LATENT_CHANNELS, 3, SPATIAL):
            raise FantasyTalkingError(
                f"The VAE makes latents of {vae.latent_channels} channels, expected Wan2.1's, which makes {LATENT_CHANNELS}: "
                "load wan_2.1_vae.safetensors."
            )
        return {"samples": vae.encode(self.padded()), "noise_mask": self.noise_mask()}

    def notices(self) -> list[str]:
        """What an artist should know before waiting for the result."""
        if self.length <= TRAINED_FRAMES:
            return []
        return [
            f"{self.length} frames at once, the model was trained on {TRAINED_FRAMES}: put Wan Context Windows on the model, "
            "or cut the video. FantasyTalking Render does not dub."
        ]


def _padded(frames: torch.Tensor, length: int) -> torch.Tensor:
    return torch.cat([frames, frames[-1:].expand(length - len(frames), *frames.shape[1:])])
