"""The training loop of every network of the family but the adapter, which the pack's own trainer makes."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fantasytalking_core.files import complete

from .muon import Muon
from .passes import Loss, Passes

LARGEST = 512
"""The shorter side of the largest matrix for Muon, whose cost grows with its cube."""
Draw = Callable[[int], tuple[torch.Tensor, ...]]
"""The batch of a step, from 0 on, on the CPU. All its chance follows from the step's number, so that a run can go on."""


def device() -> torch.device:
    """What is trained on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cheaper_products(on: torch.device) -> torch.autocast:
    """Products in bfloat16, where that is faster: on a CPU without it, it takes ten times as long."""
    return torch.autocast(
        on.type, torch.bfloat16, on.type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16", False), cache_enabled=False
    )  # weights change inside


@dataclass(frozen=True)
class Plan:
    """The rates rise linearly, then fall as a cosine to a hundredth; what is kept are averaged weights.

    Attributes:
        steps: of the optimizer.
        rate: the highest learning rate of AdamW.
        muon: that of Muon, which then trains matrices and kernels, and AdamW only the rest; None: AdamW trains all.
        average: decay of the exponential moving average of the weights, per step.
        checkpoint_every: steps.
    """

    steps: int
    rate: float
    muon: float | None = None
    warmup: int = 100
    average: float = 0.998
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    checkpoint_every: int = 250

    def share_at(self, step: int) -> float:
        """Of the highest learning rates."""
        rising = min(1.0, (step + 1) / max(self.warmup, 1))
        falling = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return rising * (0.01 + 0.99 * falling)


def fit(module: nn.Module, draw: Draw, loss: Loss, plan: Plan, checkpoint: Path) -> dict[str, torch.Tensor]:
    """Train `module` in place, where it is. Returns its averaged weights.

    Args:
        draw: called one step ahead, in a thread of its own.
        checkpoint: the file from which the training goes on, and which it writes; of another plan, it is not used.
    """
    parameters = [value for value in module.parameters() if value.requires_grad]
    optimizers = _optimizers(parameters, plan)
    averaged = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(plan.average), use_buffers=True)
    first = _go_on(checkpoint, plan, module, averaged, optimizers)
    on, passes = parameters[0].device, Passes(loss, parameters)
    started, total = time.monotonic(), torch.zeros((), device=on)
    for step, batch in _batches(draw, range(first, plan.steps)):
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * plan.share_at(step)
        total += passes(*(value.to(on) for value in batch))
        nn.utils.clip_grad_norm_(parameters, plan.max_grad_norm)
        for optimizer, _ in optimizers:
            optimizer.step()
        averaged.update_parameters(module)
        done = step + 1
        if done % plan.checkpoint_every == 0 or done == plan.steps:
            count = (done - first - 1) % plan.checkpoint_every + 1
            speed = (time.monotonic() - started) / (done - first)
            place = f"{checkpoint.stem}: step {done} of {plan.steps}"
            logging.info("%s, loss %.4f, %.3f s per step", place, total.item() / count, speed)
            total.zero_()
            state = {
                "plan": asdict(plan),
                "step": done,
                "module": module.state_dict(),
                "averaged": averaged.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer, _ in optimizers],
            }
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            with complete(checkpoint) as partial:
                torch.save(state, partial)
    return {name: value.detach().clone() for name, value in averaged.module.state_dict().items()}


def _batches(draw: Draw, steps: range) -> Iterator[tuple[int, tuple[torch.Tensor, ...]]]:
    """The steps with what they read, drawn while the step before is computed."""
    with ThreadPoolExecutor(1) as ahead:
        coming = [ahead.submit(draw, step) for step in steps[:1]]
        for step in steps:
            batch = coming.pop().result()
            coming = [ahead.submit(draw, step + 1)] if step + 1 in steps else []
            yield step, batch


def _optimizers(parameters: list[nn.Parameter], plan: Plan) -> list[tuple[torch.optim.Optimizer, float]]:
    """Optimizers with their highest rates."""
    matrices = [
        value for value in parameters if plan.muon is not None and value.ndim > 1 and 1 < min(value.flatten(1).shape) <= LARGEST
    ]
    others = [value for value in parameters if not any(value is matrix for matrix in matrices)]
    found = [(torch.optim.AdamW(others, plan.rate, weight_decay=plan.weight_decay), plan.rate)]
    if matrices:
        found.append((Muon(matrices, plan.muon, weight_decay=plan.weight_decay), plan.muon))
    return found


def _go_on(
    checkpoint: Path, plan: Plan, module: nn.Module, averaged: nn.Module, optimizers: list[tuple[torch.optim.Optimizer, float]]
) -> int:
    if not checkpoint.is_file():
        return 0
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if state["plan"] != asdict(plan):
        return 0
    module.load_state_dict(state["module"])
    averaged.load_state_dict(state["averaged"])
    for (optimizer, _), found in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(found)
    logging.info("%s: going on from step %d", checkpoint.stem, state["step"])
    return state["step"]
