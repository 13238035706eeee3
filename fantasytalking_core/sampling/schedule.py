"""The release's sigma schedule."""

from typing import TypeVar

import torch

from ..errors import FantasyTalkingError, check_number

STEPS, SHIFT = 30, 5.0
"""The release's settings."""
MIN_SHIFT, MAX_SHIFT = 0.01, 1000.0
MAX_STEPS = 1_000_000
"""Of a whole schedule, of which denoise below 1 runs the end: more is a mistake, and a list that fills the memory."""

Number = TypeVar("Number", float, torch.Tensor)


def shifted(u: Number, shift: float) -> Number:
    """σ = s·u / (1 + (s − 1)·u), of noise levels u in [0, 1]."""
    return shift * u / (1 + (shift - 1) * u)


def sigmas(steps: int, shift: float = SHIFT, denoise: float = 1.0) -> torch.Tensor:
    """`shifted` u = 1 − i/steps, then 0; float32 `[steps + 1]`.

    `denoise` below 1 keeps the last `steps` of `int(steps / denoise)` steps, as the host's KSampler does.

    Raises:
        FantasyTalkingError: a number out of its range.
    """
    check_schedule(steps, shift, denoise)
    if denoise <= 0.0:
        return torch.empty(0)
    u = torch.linspace(1, 0, (steps if denoise >= 1.0 else int(steps / denoise)) + 1)[:-1]
    return torch.cat([shifted(u, shift), torch.zeros(1)])[-(steps + 1) :]


def check_schedule(steps: int, shift: float, denoise: float) -> None:
    """Refuse numbers that make no schedule, the host's schedulers' neither.

    Raises:
        FantasyTalkingError
    """
    check_number("steps", steps, 1, MAX_STEPS)
    check_number("shift", shift, MIN_SHIFT, MAX_SHIFT, f"{SHIFT:g} in the release")
    check_number("denoise", denoise, 0, 1)
    if 0 < denoise < steps / MAX_STEPS:
        raise FantasyTalkingError(
            f"denoise is {denoise:g}, expected 0 or at least {steps / MAX_STEPS:g} with {steps} steps: what is left of the "
            "noise would be nothing."
        )
