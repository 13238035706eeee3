"""Dual-stage audio-visual alignment (§3.2): the modules that let every block hear the speech."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .attention import KeyValue


@dataclass(frozen=True)
class AudioWidths:
    """Sizes of the audio branch, as read from a file or given for training.

    Attributes:
        audio: width of an audio token (Wav2Vec2 base: 768).
        projected: width of a projected token (published: 2048).
        model: width of the DiT (Wan2.1 14B: 5120).
        blocks: DiT blocks (Wan2.1 14B: 40).
    """

    audio: int
    projected: int
    model: int
    blocks: int


class AudioProjector(nn.Module):
    """Audio tokens to the width that every block reads: LayerNorm(W h), W without bias (§3.2)."""

    def __init__(self, audio: int, projected: int, operations: Any = nn, **factory: Any) -> None:
        super().__init__()
        self.proj = operations.Linear(audio, projected, bias=False, **factory)
        self.norm = operations.LayerNorm(projected, **factory)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.norm(self.proj(tokens))


class AudioBranch(nn.Module):
    """The dual-stage audio alignment's weights: one projector, keys and values per block."""

    def __init__(self, widths: AudioWidths, operations: Any = nn, **factory: Any) -> None:
        super().__init__()
        self.widths = widths
        self.projector = AudioProjector(widths.audio, widths.projected, operations, **factory)
        self.blocks = nn.ModuleList(
            KeyValue(widths.projected, widths.model, operations, **factory) for _ in range(widths.blocks)
        )

    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """`[B, L, audio]` to `[B, L + 1, projected]`; the last row is zero and so are its keys and values."""
        return nn.functional.pad(self.projector(tokens), (0, 0, 0, 1))
