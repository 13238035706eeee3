"""The release's sigma schedule."""

import torch

STEPS, SHIFT = 30, 5.0
"""The release's settings."""


def sigmas(steps: int, shift: float = SHIFT, denoise: float = 1.0) -> torch.Tensor:
    """σ = s·u / (1 + (s − 1)·u) for u = 1 − i/steps, then 0; float32 `[steps + 1]`.

    `denoise` below 1 keeps the last `steps` of `int(steps / denoise)` steps, as the host's KSampler does.
    """
    if denoise <= 0.0:
        return torch.empty(0)
    u = torch.linspace(1, 0, (steps if denoise >= 1.0 else int(steps / denoise)) + 1)[:-1]
    return torch.cat([shift * u / (1 + (shift - 1) * u), torch.zeros(1)])[-(steps + 1) :]
