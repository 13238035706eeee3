"""Motion intensity on the host's timestep embedding (§3.4)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .hooks import hooked


@contextmanager
def timestep_embedding_plus(dit: torch.nn.Module, motion: torch.Tensor | None) -> Iterator[None]:
    """While a model call lasts, `motion` `[B, C]` is added to the DiT's timestep embedding.

    The host has no patch point there. A hook on this device's own module, for the duration of the call, leaves nothing
    behind. It is there in every call, also where nothing is added (see `hooked`).
    """

    def add(module: torch.nn.Module, args: Any, embedding: torch.Tensor) -> torch.Tensor | None:
        if motion is None:
            return None
        # one row per item of the batch, or per item and latent frame where the host's timesteps differ by frame
        rows = motion.repeat_interleave(embedding.shape[0] // motion.shape[0], dim=0)
        return embedding + rows.to(embedding)

    with hooked(dit.get_submodule("time_embedding"), after=add):
        yield
