"""What a run shows of itself: a line in the log, and everything in TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...errors import FantasyTalkingError, logger
from .objective import STRETCHES, stretch_of
from .processes import NEEDED

LOGS = "logs"


class Log:
    """Of all processes together; the first one writes.

    Args:
        accelerator: accelerate's.
        step: at which the run begins; what an earlier one wrote of later steps goes.

    Raises:
        FantasyTalkingError: TensorBoard is missing, or can't write there.
    """

    def __init__(self, output: Path, accelerator: Any, step: int) -> None:
        self.accelerator = accelerator
        self.sums = torch.zeros(2, STRETCHES, device=accelerator.device)
        self.writer: Any = None
        if not accelerator.is_main_process:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise FantasyTalkingError(NEEDED.format("TensorBoard")) from error
        try:
            self.writer = SummaryWriter(str(output / LOGS), purge_step=step + 1 if step else 0)
        except OSError as error:
            raise FantasyTalkingError(
                f"'{output / LOGS}' can't be written ({error.strerror}): choose another output."
            ) from error

    def say(self, line: str) -> None:
        if self.accelerator.is_main_process:
            logger.info("FantasyTalking training: %s", line)

    def count(self, sigmas: torch.Tensor, losses: torch.Tensor) -> None:
        """Losses `[B]` at sigmas `[B]`: their means by stretch of sigma are in the next line."""
        stretches = stretch_of(sigmas)
        self.sums[0].index_add_(0, stretches, losses.float())
        self.sums[1].index_add_(0, stretches, torch.ones_like(losses, dtype=torch.float32))

    def losses(self, step: int, steps: int, found: Mapping[str, float]) -> None:
        """Numbers of a step, means over all processes, with the losses by stretch since the last time."""
        values = torch.tensor(list(found.values()), device=self.accelerator.device)
        means = dict(zip(found, self.accelerator.reduce(values, "mean").tolist(), strict=True))
        for stretch, (loss, count) in enumerate(self.accelerator.reduce(self.sums, "sum").T.tolist()):
            if count:
                means[f"loss_by_sigma/{stretch / STRETCHES:g}-{(stretch + 1) / STRETCHES:g}"] = loss / count
        self.sums = torch.zeros_like(self.sums)
        if torch.cuda.is_available():
            means["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        self.write(step, f"step {step} of {steps}", means)

    def write(self, step: int, what: str, values: Mapping[str, float]) -> None:
        try:
            for name, value in values.items() if self.writer is not None else ():
                self.writer.add_scalar(name, value, step)
        except OSError as error:  # days of training do not end for a curve
            logger.warning("FantasyTalking training: the log can't be written (%s); there are no more curves.", error)
            self.writer = None
        self.say(f"{what}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
