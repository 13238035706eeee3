"""Latents to frames as they come, in memory that does not grow with the video.

Wan2.1's decoder is causal and works through a video in pieces of one, two, two … latent frames, with a cache of what it has
seen. The same pieces with the same cache, whenever their latents are there, give the frames of decoding the whole, to the
bit. Its memory is finite: 40 latent frames rebuild the cache.
"""

from collections.abc import Iterator
from typing import Any

import comfy.model_management
import torch
from comfy.ldm.wan.vae import WanVAE, count_cache_layers

from ..latent_grid import video_frames

WARM_UP = 40
"""Latent frames after which a cache that was empty is the same to the bit (measured; even, see `rebuild`)."""
REBUILT_FROM = WARM_UP + 3
"""Latent frames that `rebuild` may need: one may be waiting for its pair, and another is there for the even place."""
PIECE = 2
"""Latent frames of a piece, but of the first."""
SEEN_BEFORE = 8
"""Latent frames that a VAE without such a cache is shown again before new ones."""
TILE = 32
"""Latent pixels of a tile, where the device has no room for whole frames."""


class StreamedDecoding:
    """The frames of one video.

    Attributes:
        notice: what an artist should know of how it is done, "" where it is exact.
    """

    def __init__(self, vae: Any) -> None:
        self.vae, self.notice = vae, ""
        self.cache: list[torch.Tensor | None] | None = None
        if isinstance(vae.first_stage_model, WanVAE):
            self.cache = [None] * count_cache_layers(vae.first_stage_model.decoder)
        else:
            self.notice = "This VAE decodes in overlapping parts, which may differ a little: wan_2.1_vae.safetensors is exact."
        self.is_tiled = False
        self.done = 0
        self.waiting: torch.Tensor | None = None
        self.seen: torch.Tensor | None = None

    def push(self, latents: torch.Tensor, is_last: bool) -> Iterator[torch.Tensor]:
        """The frames `[F, H, W, 3]` in [0, 1] that these latents `[1, 16, n, h, w]` complete, piece by piece."""
        latents = latents if self.waiting is None else torch.cat([self.waiting, latents], dim=2)
        self.waiting = None
        while latents.shape[2]:
            size = 1 if self.done == 0 else PIECE
            if self.cache is None:
                size = latents.shape[2]
            elif latents.shape[2] < size and not is_last:
                self.waiting = latents
                return
            piece, latents = latents[:, :, :size], latents[:, :, size:]
            yield from self._decoded(piece)
            self.done += piece.shape[2]
            self.seen = piece if self.seen is None else torch.cat([self.seen, piece], dim=2)
            self.seen = self.seen[:, :, -SEEN_BEFORE:]

    def rebuild(self, latents: torch.Tensor, start: int) -> None:
        """Go on after latents of which all frames that they complete exist already.

        The last `WARM_UP` are decoded once more, from one at an even place on, so that the pieces are those of before.

        Args:
            latents: `[1, 16, n, h, w]`, the last ones: all there are, or at least `REBUILT_FROM`.
            start: place of the first of them in the video.
        """
        count = start + latents.shape[2]
        if self.cache is None:
            self.seen, self.done = latents[:, :, -SEEN_BEFORE:], count
            return
        waiting = (count - 1) % PIECE
        first = max(0, count - waiting - WARM_UP - 1)
        first -= first % PIECE
        for _ in self.push(latents[:, :, first - start :], is_last=False):
            pass
        self.done = count - waiting

    def _decoded(self, piece: torch.Tensor) -> Iterator[torch.Tensor]:
        if self.cache is not None and not self.is_tiled:
            try:
                yield self._by_cache(piece)
                return
            except Exception as error:
                comfy.model_management.raise_non_oom(error)
            self.is_tiled = True
            self.notice = "Too little memory to decode whole frames: they are decoded in tiles, whose borders may show."
            comfy.model_management.soft_empty_cache()
        before = 0 if self.seen is None else self.seen.shape[2]
        seen = piece if self.seen is None else torch.cat([self.seen, piece], dim=2)
        if self.is_tiled:
            frames = self.vae.decode_tiled(seen, tile_x=TILE, tile_y=TILE, overlap=TILE // 4, tile_t=seen.shape[2], overlap_t=0)
        else:
            frames = self.vae.decode(seen)
        yield frames.reshape(-1, *frames.shape[-3:])[video_frames(before) if before else 0 :]

    def _by_cache(self, piece: torch.Tensor) -> torch.Tensor:
        vae, model = self.vae, self.vae.first_stage_model
        memory = vae.memory_used_decode(piece.shape, vae.vae_dtype)
        comfy.model_management.load_models_gpu([vae.patcher], memory_required=memory, force_full_load=vae.disable_offload)
        latents = model.conv2(piece.to(device=vae.device, dtype=vae.vae_dtype))
        parts = model.decoder(latents, feat_cache=self.cache, feat_idx=[0])
        frames = torch.cat(parts, dim=2) if isinstance(parts, list) else parts
        frames = frames.to(device=vae.output_device, dtype=vae.vae_output_dtype(), copy=True)
        return vae.process_output(frames)[0].movedim(0, -1)
