"""Scaled fp8: 8-bit weights with a factor each, as the host's files have them.

| of a layer's `weight` | older files | newer files |
|---|---|---|
| its factor | `scale_weight` | `weight_scale` |
| its input's factor, of no use here | `scale_input` | `input_scale` |
| that it is so | `scaled_fp8`, once in a file | `comfy_quant` |
"""

from collections.abc import Mapping
from typing import TypeVar

import torch

from ..errors import FantasyTalkingError, short

T = TypeVar("T")

FACTORS = ("scale_weight", "weight_scale")
SIGNS = ("scale_input", "input_scale", "scaled_fp8", "comfy_quant")


def split(values: Mapping[str, T]) -> tuple[dict[str, T], dict[str, tuple[str, T]]]:
    """A file's values without those that say how it is scaled, and by the keys of weights their factors with their keys."""
    weights: dict[str, T] = {}
    factors: dict[str, tuple[str, T]] = {}
    for key, value in values.items():
        layer, dot, last = key.rpartition(".")
        if last in FACTORS:
            factors[f"{layer}{dot}weight"] = key, value
        elif last not in SIGNS:
            weights[key] = value
    return weights, factors


def scaled(weight: torch.Tensor, key: str, factor: object, name: str) -> torch.Tensor:
    """A weight times its factor, float32.

    Raises:
        FantasyTalkingError: the factor, which is called `key` in the file `name`, is not one number.
    """
    if not isinstance(factor, torch.Tensor) or factor.numel() != 1 or not factor.is_floating_point():
        raise FantasyTalkingError(
            f"'{name}' holds {short(key)} of another shape or type than one number for the whole weight, which this pack "
            "does not read: use a file in 16 bit, or in scaled fp8 with one scale per weight."
        )
    return weight.float() * factor.float().reshape(())
