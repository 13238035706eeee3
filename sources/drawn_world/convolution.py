"""The host's 3D convolutions as 2D ones: of as few channels as the small VAE has, PyTorch's own take a CPU three times as
long."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.ops
import torch
from torch.nn import functional

CAUSAL = "causal_zero"
"""The host's word for frames before the first, which are zero: the weights that would meet them are left out."""


def as_2d(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, module: torch.nn.Conv3d) -> torch.Tensor:
    """A convolution of `[N, C, T, H, W]`: the frames that a kernel sees become channels of one picture."""
    out, channels, frames, height, width = weight.shape
    seen = x.unfold(2, frames, module.stride[0]).permute(0, 2, 5, 1, 3, 4)
    kernel = weight.transpose(1, 2).reshape(out, frames * channels, height, width)
    pictures = seen.reshape(-1, frames * channels, *x.shape[3:])
    found = functional.conv2d(pictures, kernel, bias, module.stride[1:], module.padding[1:], module.dilation[1:])
    return found.unflatten(0, seen.shape[:2]).transpose(1, 2).contiguous()


@contextmanager
def convolutions_as_2d() -> Iterator[None]:
    """What the host convolves on a CPU, it convolves so; the results differ by rounding."""
    layer = comfy.ops.disable_weight_init.Conv3d
    before = layer._conv_forward

    def convolve(
        self: torch.nn.Conv3d,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        autopad: str | None = None,
        **more: Any,
    ) -> torch.Tensor:
        if x.device.type != "cpu" or self.groups != 1 or self.dilation[0] != 1 or self.padding[0]:
            return before(self, x, weight, bias, autopad, **more)
        return as_2d(x, weight[:, :, -x.shape[2] :] if autopad == CAUSAL else weight, bias, self)

    layer._conv_forward = convolve
    try:
        yield
    finally:
        layer._conv_forward = before
