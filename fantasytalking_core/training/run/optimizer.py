"""AdamW over what is trained, with moments in float32 or in 8 bits.

The 8-bit ones are bitsandbytes': an integer per number, with a scale for every 256; of weights with fewer than 4096 numbers,
they are float32.
"""

import importlib.util
import math
from collections.abc import Mapping
from typing import Any

import torch

from ...errors import FantasyTalkingError
from .config import Config
from .processes import is_launched_sharded

BLOCK, SMALLEST, LEVELS = 256, 4096, 256
"""Of bitsandbytes: numbers that share a scale, numbers of a weight from which on its moments have 8 bits, and their values."""
WRAPPED = "__bnb_optimizer_quant_state__"
"""Under which bitsandbytes' state has the moments, so that what collects states does not take them for weights."""
NEEDED = "optimizer adamw8bit needs bitsandbytes, which is not installed: python -m pip install bitsandbytes, or set adamw."


def check_optimizer(config: Config) -> None:
    """Raises FantasyTalkingError where bitsandbytes is missing, or the launcher shares out the moments itself."""
    if config.optimizer == "adamw":
        return
    if importlib.util.find_spec("bitsandbytes") is None:
        raise FantasyTalkingError(NEEDED)
    if is_launched_sharded():
        raise FantasyTalkingError(
            "optimizer adamw8bit does not go with FSDP and DeepSpeed, which share out the moments among the GPUs: set "
            "optimizer to adamw, or launch without them."
        )


def optimizer_of(config: Config, module: torch.nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """AdamW over the weights of a module that are trained.

    Raises:
        FantasyTalkingError: bitsandbytes is missing.
    """
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    settings: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(weights, **settings, fused=device.type == "cuda")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise FantasyTalkingError(NEEDED) from error
    return AdamW8bit(weights, **settings)


def moments(config: Config, weight: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """What the optimizer keeps of a weight beside its step: shapes by their names."""
    if config.optimizer == "adamw":
        return {"exp_avg": (*weight.shape,), "exp_avg_sq": (*weight.shape,)}
    found: dict[str, tuple[int, ...]] = {"state1": (*weight.shape,), "state2": (*weight.shape,)}
    if weight.numel() >= SMALLEST:
        scales = (math.ceil(weight.numel() / BLOCK),)
        found |= {"absmax1": scales, "absmax2": scales, "qmap1": (LEVELS,), "qmap2": (LEVELS,)}
    return found


def moment_bytes(config: Config, weight: torch.Tensor) -> int:
    """Memory of the moments of a weight; all weights share the levels."""
    is_8_bit = config.optimizer == "adamw8bit" and weight.numel() >= SMALLEST
    kept = {name: math.prod(shape) for name, shape in moments(config, weight).items() if not name.startswith("qmap")}
    return sum(numbers * (1 if is_8_bit and name.startswith("state") else 4) for name, numbers in kept.items())


def are_moments(config: Config, stored: Mapping[str, Any], weight: torch.Tensor) -> bool:
    """Whether this is what the optimizer has stored of a weight.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is something else.
    """
    found = {**stored, **stored.get(WRAPPED, {})}
    step = torch.as_tensor(found["step"])
    shapes = moments(config, weight)
    return (
        step.shape == ()
        and bool(torch.isfinite(step))
        and all(found[name].shape == shape and bool(torch.isfinite(found[name]).all()) for name, shape in shapes.items())
    )
