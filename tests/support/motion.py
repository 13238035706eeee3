"""An adapter file with motion weights beside the reference's audio ones, and the network written out directly."""

from pathlib import Path

import torch

from fantasytalking_core.adapter.file import read_adapter, save_adapter
from support.reference import FOLDER

NAME = "with_motion.safetensors"
MODEL, HIDDEN = 256, 12
RANGES = {"expression": [0.001, 0.003], "body": [0.01, 0.05]}


def shapes(model: int = MODEL, hidden: int = HIDDEN) -> dict[str, tuple[int, ...]]:
    """Every weight of the motion network and its shape, written out."""
    found = {"out.weight": (model, hidden), "out.bias": (model,)}
    for which in ("expression", "body"):
        found |= {f"{which}.0.weight": (hidden, 1), f"{which}.0.bias": (hidden,)}
        found |= {f"{which}.2.weight": (hidden, hidden), f"{which}.2.bias": (hidden,)}
    for index in (1, 3):
        found |= {f"residual.{index}.weight": (hidden, hidden), f"residual.{index}.bias": (hidden,)}
    found |= {"residual.0.weight": (hidden,), "residual.0.bias": (hidden,)}
    return {f"motion.{key}": shape for key, shape in found.items()}


def weights(seed: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(shape, generator=generator) * 0.7 for key, shape in shapes().items()}


def write(path: Path) -> None:
    import json

    audio = read_adapter(FOLDER / "fantasytalking" / "fantasytalking_tiny.safetensors").weights
    save_adapter(path, {**audio, **weights()}, {"motion_ranges": json.dumps(RANGES)})


def network(weights: dict[str, torch.Tensor], expression: float, body: float) -> torch.Tensor:
    """`[model]` from the formulas, in float64: MLPs, residual layer, average pooling, last layer."""
    w = {key.removeprefix("motion."): value.double() for key, value in weights.items() if key.startswith("motion.")}

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def silu(x: torch.Tensor) -> torch.Tensor:
        return x / (1 + torch.exp(-x))

    tokens = torch.stack(
        [
            linear(silu(linear(torch.tensor([value], dtype=torch.float64), f"{which}.0")), f"{which}.2")
            for which, value in (("expression", expression), ("body", body))
        ]
    )
    normed = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    normed = normed * w["residual.0.weight"] + w["residual.0.bias"]
    tokens = tokens + linear(silu(linear(normed, "residual.1")), "residual.3")
    return linear(tokens.mean(0), "out")
