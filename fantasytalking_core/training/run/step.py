"""One training step: a batch through the frozen DiT with the adapter on it, to the loss.

The adapter is a submodule, the DiT is not: what wraps the step for several processes then neither copies nor splits the
frozen weights.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import nn

from ...adapter.adapter import Adapter
from ...adapter.keys_values import KeysValues, KeyValuePair
from ...speech.windows import PADDING
from ..data.sample import Sample
from .config import Level
from .dataset import Batch
from .objective import chosen_losses, lip_losses, noised, whole_losses


@dataclass(frozen=True, eq=False)
class Added:
    """What the adapter adds in a call in which every row of the batch has its own speech, face and motion.

    Attributes:
        speech: keys and values `[B, L + 1, C]` of each block.
        windows: int64 `[B, windows, l′]`, the video tokens in equal parts of it; None: all hear all.
        face: keys and values `[B, M, C]` of each block.
        motion: `[B, C]`.
    """

    speech: KeysValues
    windows: torch.Tensor | None
    face: KeysValues | None
    motion: torch.Tensor | None


class Dit(Protocol):
    """The frozen model.

    Attributes:
        dtype: in which it computes.
        device: on which.
        bytes: of its weights.
        width, blocks: what an adapter has to fit.
    """

    dtype: torch.dtype
    device: torch.device

    @property
    def width(self) -> int: ...

    @property
    def blocks(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    def place(self) -> None:
        """Put all weights on the device, from wherever they were."""

    def check(self, sample: Sample, adapter: Adapter) -> None:
        """Raises FantasyTalkingError for samples of other models than this one and this adapter."""

    def gradients(self) -> AbstractContextManager[None]:
        """Forward and backward pass of a training step happen inside."""

    def velocity(self, x: torch.Tensor, batch: Batch, added: Added) -> torch.Tensor:
        """v of `[B, 16, T, h, w]` at the batch's sigmas, float32; its gradients reach the adapter."""


class Losses(NamedTuple):
    """`loss` is what is trained on, a number; `each`, `whole` and `lips` are those of every sample, `[B]`, without gradient."""

    loss: torch.Tensor
    whole: torch.Tensor
    lips: torch.Tensor
    each: torch.Tensor


class TrainingStep(nn.Module):
    def __init__(self, adapter: Adapter, dit: Dit) -> None:
        super().__init__()
        self.adapter, self.dit = adapter, dit

    def forward(self, batch: Batch, level: Level) -> Losses:
        """The loss of a batch: L at clip level, Eq. 3 at frame level."""
        velocity = self.dit.velocity(noised(batch.latents, batch.noise, batch.sigma), batch, self.added(batch, level))
        whole = whole_losses(velocity, batch.latents, batch.noise)
        lips = lip_losses(velocity, batch.latents, batch.noise, batch.lips)
        is_whole = batch.whole if level == "frame" else torch.ones_like(batch.whole)
        each = chosen_losses(whole, lips, batch.lips, is_whole)
        return Losses(each.mean(), whole.detach(), lips.detach(), each.detach())

    def added(self, batch: Batch, level: Level) -> Added:
        """Projector, resampler and motion network, in float32 as in sampling.

        What is dropped or not known has rows of zeros, whose keys and values are zero: it adds exactly nothing.
        """
        audio, identity, network = self.adapter.audio, self.adapter.identity, self.adapter.motion
        places = torch.arange(batch.speech.shape[1] + 1, device=batch.speech.device)
        is_token = places < (batch.lengths * batch.has_speech.long())[:, None]
        speech = audio.project(batch.speech) * is_token[..., None]
        face = motion = None
        if identity is not None:
            tokens = identity.resampler(batch.face) * batch.has_face[:, None, None]
            face = self.keys_values(tokens, identity.blocks)
        if network is not None:
            motion = network(batch.motion)
        return Added(
            self.keys_values(speech, audio.blocks),
            windows_of(batch, level),
            face,
            motion,
        )

    def keys_values(self, rows: torch.Tensor, blocks: nn.ModuleList) -> KeysValues:
        """In the DiT's type, from weights in float32 or frozen ones in that type; computed where a block asks for them."""
        dtype = self.dit.dtype
        rows = rows.to(dtype)

        def of_block(index: int) -> KeyValuePair:
            if dtype == torch.float32:
                return blocks[index](rows)
            with torch.autocast(rows.device.type, dtype, cache_enabled=False):
                return blocks[index](rows)

        return of_block


def windows_of(batch: Batch, level: Level) -> torch.Tensor | None:
    """The windows of each row; at clip level None, or one window each where the rows' speeches differ in length."""
    if level == "frame":
        return batch.windows
    places = torch.arange(batch.speech.shape[1], device=batch.speech.device)
    is_token = places < batch.lengths[:, None]
    return None if bool(is_token.all()) else torch.where(is_token, places, PADDING)[:, None]
