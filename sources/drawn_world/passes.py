"""Forward and backward passes of a training step, on a GPU recorded once for each shape of batch and then replayed.

The networks of the family are so small that a GPU computes a step in less time than a CPU needs to ask for it.
"""

from collections.abc import Callable, Sequence

import torch

Loss = Callable[..., torch.Tensor]
"""The loss of a batch, whose tensors are its arguments. On a GPU, nothing in it may depend on their values."""
Recording = tuple[torch.cuda.CUDAGraph, tuple[torch.Tensor, ...], torch.Tensor]
"""What is replayed, where it reads its batch and where it leaves the loss."""
WARM_UPS = 3
"""Passes before one is recorded: libraries choose their kernels and take their memory in the first ones."""


class Passes:
    """Call with a batch on the parameters' device for its loss, `[]` without gradient; the parameters' gradients are then its.

    On a GPU, the loss is overwritten by the next call with a batch of the same shapes.
    """

    def __init__(self, loss: Loss, parameters: Sequence[torch.nn.Parameter]) -> None:
        self.loss, self.parameters = loss, parameters
        self.recordings: dict[tuple[torch.Size, ...], Recording] = {}

    def __call__(self, *batch: torch.Tensor) -> torch.Tensor:
        if batch[0].device.type != "cuda":
            for parameter in self.parameters:
                parameter.grad = None
            return self._computed(batch)
        shapes = tuple(value.shape for value in batch)
        if shapes not in self.recordings:
            with batch[0].device:  # what the host makes of numbers too: a copy from the CPU can't be recorded
                self.recordings[shapes] = self._recorded(batch)
        graph, read, found = self.recordings[shapes]
        for place, value in zip(read, batch, strict=True):
            place.copy_(value)
        graph.replay()
        return found

    def _computed(self, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        found = self.loss(*batch)
        found.backward()
        return found.detach()

    def _recorded(self, batch: Sequence[torch.Tensor]) -> Recording:
        read = tuple(value.clone() for value in batch)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self._computed(read)
        torch.cuda.current_stream().wait_stream(aside)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for gradient in gradients:
                gradient.zero_()
            found = self._computed(read)
        return graph, read, found
