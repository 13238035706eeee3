"""Recordings to be heard, as a host's AUDIO."""

import torch


def noise(seconds: float, rate: int, channels: int = 1) -> torch.Tensor:
    """`[channels, N]`, every sample different."""
    return 0.3 * torch.randn(channels, int(seconds * rate), generator=torch.Generator().manual_seed(rate + channels))


def audio(samples: torch.Tensor, rate: object = 16000) -> dict:
    return {"waveform": samples[None], "sample_rate": rate}
