"""A frozen model of ten lines, for the training loop by itself: it needs no ComfyUI."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fantasytalking_core.training.run.dataset import Batch
from fantasytalking_core.training.run.step import Added


class FakeDit:
    """Right but for 1, from which everything that the adapter adds is subtracted."""

    dtype, device, width, blocks, bytes = torch.float32, torch.device("cpu"), 16, 2, 0

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refusal: Exception | None = None

    def place(self) -> None:
        self.calls.append("place")

    def check(self, sample, adapter) -> None:
        if self.refusal is not None:
            raise self.refusal

    @contextmanager
    def gradients(self) -> Iterator[None]:
        self.calls.append("gradients")
        yield
        self.calls.append("no gradients")

    def velocity(self, x: torch.Tensor, batch: Batch, added: Added) -> torch.Tensor:
        self.calls.append("velocity")
        pairs = [of(block) for of in (added.speech, added.face) for block in range(self.blocks)]
        found = added.motion.mean(1) + sum((keys + values).mean((1, 2)) for keys, values in pairs)
        return batch.noise - batch.latents + (1 - found)[:, None, None, None, None]
