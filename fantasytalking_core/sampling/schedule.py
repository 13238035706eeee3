"""The release's sigma schedule."""

from typing import TypeVar

import torch

STEPS, SHIFT = 30, 5.0
"""The release's settings."""


Number = TypeVar("Number", float, torch.Tensor)


def shifted(u: Number, shift: float) -> Number:
    """σ = s·u / (1 + (s − 1)·u), of noise levels u in [0, 1]."""
    return shift * u / (1 + (shift - 1) * u)


def sigmas(steps: int, shift: float = SHIFT, denoise: float = 1.0) -> torch.Tensor:
    """`shifted` u = 1 − i/steps, then 0; float32 `[steps + 1]`.

    `denoise` below 1 keeps the last `steps` of `int(steps / denoise)` steps, as the host's KSampler does.
    """
    if denoise <= 0.0:
        return torch.empty(0)
    u = torch.linspace(1, 0, (steps if denoise >= 1.0 else int(steps / denoise)) + 1)[:-1]
    return torch.cat([shifted(u, shift), torch.zeros(1)])[-(steps + 1) :]
