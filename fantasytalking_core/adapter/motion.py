"""Motion intensity modulation (§3.4): two coefficients set how much the face and the body move.

    MLP(ω_l), MLP(ω_b) → residual layer → average pooling → an embedding, added to the timestep embedding

ω_l is the variance of a clip's face landmarks and ω_b that of its body joints, each normalised to [0, 1] by ranges
that belong to the data an adapter was trained on. The paper gives no widths: the hidden one is our choice.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, reduce
from torch import nn

from ..errors import FantasyTalkingError

NEUTRAL = 0.5
"""Both coefficients at inference in the paper."""
RANGES = "motion_ranges"
"""What an adapter file's metadata calls its `MotionRanges`."""


@dataclass(frozen=True)
class Motion:
    """The value of an FT_MOTION wire: how much face and body move, each from 0 to 1.

    Attributes:
        expression: ω_l.
        body: ω_b.
    """

    expression: float = NEUTRAL
    body: float = NEUTRAL

    def __post_init__(self) -> None:
        for name, value in (("expression", self.expression), ("body", self.body)):
            if not 0.0 <= value <= 1.0:
                raise FantasyTalkingError(f"{name} is {value:g}, expected 0 (still) to 1 (lively); 0.5 is neutral.")

    def coefficients(self) -> torch.Tensor:
        """`[1, 2]` float32: ω_l, ω_b."""
        return torch.tensor([[self.expression, self.body]])


@dataclass(frozen=True)
class MotionRanges:
    """Variances that map to 0 and to 1.

    The defaults are estimates of ours: lively speech of one person in front of a camera comes out in the middle. An
    adapter's file holds those of the data that it was trained on.

    Attributes:
        expression: of the face's points, in squared distances between the eyes (see `motion_from_video`).
        body: of the body's joints, in squared shoulder widths.
    """

    expression: tuple[float, float] = (0.0, 0.002)
    body: tuple[float, float] = (0.0, 0.02)

    def motion(self, expression: float, body: float | None) -> Motion:
        """Measured variances as coefficients, what lies outside of the ranges at their ends; None is neutral."""
        return Motion(_mapped(expression, self.expression), NEUTRAL if body is None else _mapped(body, self.body))

    def to_json(self) -> str:
        return json.dumps({"expression": self.expression, "body": self.body})

    @classmethod
    def from_json(cls, text: str) -> "MotionRanges":
        """Raises ValueError where the text holds no two ranges."""
        try:
            ranges = json.loads(text)
            (low, high), (low_body, high_body) = (map(float, ranges[name]) for name in ("expression", "body"))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(text) from error
        if not (0 <= low < high < float("inf") and 0 <= low_body < high_body < float("inf")):
            raise ValueError(text)
        return cls((low, high), (low_body, high_body))


def _mapped(variance: float, between: tuple[float, float]) -> float:
    low, high = between
    return min(max((variance - low) / (high - low), 0.0), 1.0)


@dataclass(frozen=True)
class MotionWidths:
    """Sizes of the motion network.

    Attributes:
        model: width of the DiT, and so of its timestep embedding (Wan2.1 14B: 5120).
        hidden: width inside.
    """

    model: int
    hidden: int = 512


class MotionNetwork(nn.Module):
    """Two coefficients to what is added to the timestep embedding; the last layer starts at zero."""

    def __init__(
        self, widths: MotionWidths, ranges: MotionRanges = MotionRanges(), operations: Any = nn, **factory: Any
    ) -> None:
        super().__init__()
        self.widths, self.ranges = widths, ranges
        self.expression = self._mlp(operations, factory)
        self.body = self._mlp(operations, factory)
        self.residual = nn.Sequential(
            operations.LayerNorm(widths.hidden, **factory),
            operations.Linear(widths.hidden, widths.hidden, **factory),
            nn.SiLU(),
            operations.Linear(widths.hidden, widths.hidden, **factory),
        )
        self.out = operations.Linear(widths.hidden, widths.model, **factory)
        if operations is nn:  # the host's layers are never initialised, a file fills them
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def _mlp(self, operations: Any, factory: Mapping[str, Any]) -> nn.Sequential:
        hidden = self.widths.hidden
        return nn.Sequential(operations.Linear(1, hidden, **factory), nn.SiLU(), operations.Linear(hidden, hidden, **factory))

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        """`[B, 2]` (ω_l, ω_b) to `[B, model]`."""
        expression, body = rearrange(coefficients, "b (two one) -> two b one", one=1)
        tokens = torch.stack([self.expression(expression), self.body(body)], dim=1)
        tokens = tokens + self.residual(tokens)
        return self.out(reduce(tokens, "b two hidden -> b hidden", "mean"))
