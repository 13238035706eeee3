"""Motion intensity modulation (§3.4): two coefficients set how much the face and the body move.

    MLP(ω_l), MLP(ω_b) → residual layer → average pooling → an embedding, added to the timestep embedding

ω_l is the variance of a clip's face landmarks and ω_b that of its body joints, each normalised to [0, 1] by ranges
that belong to the data an adapter was trained on. The paper gives no widths: the hidden one is our choice.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from einops import rearrange, reduce
from torch import nn

from ..errors import FantasyTalkingError, short

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
            if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
                raise FantasyTalkingError(f"{name} is {short(value)}, expected 0 (still) to 1 (lively); 0.5 is neutral.")

    def coefficients(self) -> torch.Tensor:
        """`[1, 2]` float32: ω_l, ω_b."""
        return torch.tensor([[self.expression, self.body]])


Range = tuple[float, float]
Map = Literal["linear", "log"]
BEFORE: Map = "linear"
"""Of files that do not say it."""


@dataclass(frozen=True)
class MotionRanges:
    """Variances that map to 0 and to 1.

    The defaults are the 5 % and 95 % quantiles of real people who sit or stand and talk. An adapter's file holds those of
    the data that it was trained on.

    Attributes:
        expression: of the face's points, in squared distances between the eyes (see `motion.measure`). None where the data
            did not tell: then its coefficient was neutral in every sample, and stays so.
        body: of the body's joints, in squared shoulder widths; None as above.
        map: how what lies between is mapped. Variances of real clips are heavy-tailed: over the logarithm the median clip
            comes out near 0.5, linearly at 0.2. Files that are linear were measured with the outline of the face.
    """

    expression: Range | None = (0.0001, 0.004)
    body: Range | None = (0.0002, 0.003)
    map: Map = "log"

    def __post_init__(self) -> None:
        """Raises ValueError where a range is none, or begins at 0 over the logarithm."""
        if self.map not in get_args(Map):
            raise ValueError(f"{self.map} is no map")
        for low, high in filter(None, (self.expression, self.body)):
            if not 0 <= low < high < math.inf or (self.map == "log" and low == 0):
                raise ValueError(f"{low} to {high} is no range")

    @property
    def trained(self) -> tuple[bool, bool]:
        """Whether expression and body differed from sample to sample."""
        return self.expression is not None, self.body is not None

    @property
    def with_outline(self) -> bool:
        """Whether the variances of the face are those of all its points."""
        return self.map == "linear"

    def motion(self, expression: float | None, body: float | None) -> Motion:
        """Measured variances as coefficients, what lies outside of the ranges at their ends; what is unknown is neutral."""
        return Motion(self._coefficient(expression, self.expression), self._coefficient(body, self.body))

    def _coefficient(self, variance: float | None, between: Range | None) -> float:
        if variance is None or between is None:
            return NEUTRAL
        low, high = between
        if not low < variance < high:
            return float(variance >= high)
        if self.map == "log":
            low, variance, high = map(math.log, (low, variance, high))
        return (variance - low) / (high - low)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "MotionRanges":
        """Raises ValueError where the text holds no two ranges."""
        try:
            return cls.of(json.loads(text))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(text) from error

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "MotionRanges":
        """What `asdict` gives. Raises ValueError, TypeError, KeyError or AttributeError where it is something else."""
        return cls(_range(stored["expression"]), _range(stored["body"]), stored.get("map", BEFORE))


def _range(stored: Any) -> Range | None:
    if stored is None:
        return None
    low, high = map(float, stored)
    return low, high


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
        """`[B, 2]` (ω_l, ω_b) to `[B, model]`; a coefficient that was not trained is neutral, whatever it is."""
        trained = torch.tensor(self.ranges.trained, device=coefficients.device)
        coefficients = torch.where(trained, coefficients, NEUTRAL)
        expression, body = rearrange(coefficients, "b (two one) -> two b one", one=1)
        tokens = torch.stack([self.expression(expression), self.body(body)], dim=1)
        tokens = tokens + self.residual(tokens)
        return self.out(reduce(tokens, "b two hidden -> b hidden", "mean"))
