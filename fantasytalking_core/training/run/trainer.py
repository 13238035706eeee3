"""The training loop (§4.1): AdamW over the adapter, both stages, with logs, samples and checkpoints.

On `accelerate`: what its launcher sets up (one GPU, several, several machines; DDP, FSDP, DeepSpeed) is what this runs on.
"""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from ...adapter.file import read_adapter, save_adapter
from ...errors import FantasyTalkingError, logger
from . import checkpoints
from .config import Config, Level
from .dataset import Dataset, Numbers, loader
from .new_adapter import new_adapter
from .step import Dit, TrainingStep

NEEDED = "Training needs {}, which is not installed: python -m pip install accelerate tensorboard"
LONGEST_WAIT = timedelta(hours=2)
"""For which processes wait for each other, while one samples or writes."""

OnStep = Callable[[int, dict[str, float]], None]
Sampler = Callable[[dict[str, torch.Tensor], dict[str, str], Dataset, Level, int], Path]
"""Weights, their metadata, whose portraits and speeches there are, the stage's level and the step to the file written."""


def check_before_loading(config: Config) -> None:
    """What would end a run before its first step, looked at before the DiT is loaded.

    Raises:
        FantasyTalkingError
    """
    Dataset(config)


class Trainer:
    """A run, set up and at the step where it goes on.

    Args:
        dit: the frozen model that the adapter is trained on.
        sampler: writes a sample with the weights of a step; None: no samples.

    Raises:
        FantasyTalkingError: what `Config`, cache, model and checkpoints have against it; accelerate or TensorBoard missing.
    """

    def __init__(self, config: Config, dit: Dit, sampler: Sampler | None = None) -> None:
        self.config, self.dit, self.sampler = config, dit, sampler
        self.accelerator = accelerator(config, dit.device.type == "cpu")
        self.dataset = Dataset(config)
        first = self.dataset.sample(0)
        adapter = new_adapter(
            config,
            self.dit.width,
            self.dit.blocks,
            first.speech.shape[1],
            self.dataset.face_width,
            self.dataset.index.ranges,
        )
        self.dit.check(first, adapter)
        self.adapter_metadata = adapter.metadata()
        self.first_step = 0
        found = checkpoints.all_of(config.output)
        if found:
            state = checkpoints.State.read(found[-1])
            state.check_same_run(self.state(state.step), found[-1])
            self.first_step = state.step
            adapter.load_state_dict(read_adapter(found[-1] / checkpoints.ADAPTER).weights)
        step = TrainingStep(adapter, self.dit)
        optimizer = torch.optim.AdamW(
            step.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=self.dit.device.type == "cuda"
        )
        self.step, self.optimizer = self.accelerator.prepare(step, optimizer)
        if found:
            self.say(f"going on from {found[-1]}")
            if self.sharded:
                self.accelerator.load_state(str(found[-1] / checkpoints.SHARDED))
            else:
                self.optimizer.load_state_dict(checkpoints.load_optimizer(found[-1]))
        self.log = self.writer()

    @property
    def sharded(self) -> bool:
        """Whether weights and moments are spread over the processes."""
        return str(self.accelerator.distributed_type).rsplit(".", 1)[-1] in ("FSDP", "DEEPSPEED")

    def state(self, step: int) -> checkpoints.State:
        return checkpoints.State.of(self.config, step, self.accelerator.num_processes, self.dataset.digest())

    def writer(self) -> Any:
        if not self.accelerator.is_main_process:
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise FantasyTalkingError(NEEDED.format("TensorBoard")) from error
        return SummaryWriter(str(self.config.output / "logs"), purge_step=self.first_step)

    def say(self, line: str) -> None:
        if self.accelerator.is_main_process:
            logger.info("FantasyTalking training: %s", line)

    def run(self, on_step: OnStep | None = None) -> Path | None:
        """Train to the end of the last stage; returns the last checkpoint.

        Args:
            on_step: called after every step with its number (from 1) and this process's numbers.

        Raises:
            FantasyTalkingError: a damaged cache, a disk that is full, losses that are no numbers.
        """
        config = self.config
        numbers = Numbers(config, self.first_step, self.accelerator.process_index, self.accelerator.num_processes)
        self.dit.place()
        batches = iter(loader(self.dataset, numbers)) if self.first_step < config.steps else iter(())
        started, last = time.monotonic(), self.first_step
        try:
            for step in range(self.first_step, config.steps):
                stage = config.stage_at(step)
                found = self.one_step(step, batches, config.stages[stage].name)
                done = step + 1
                if done % config.log_every == 0 or done == config.steps:
                    found["seconds_per_step"] = (time.monotonic() - started) / (done - last)
                    self.report(done, found)
                    started, last = time.monotonic(), done
                if on_step is not None:
                    on_step(done, found)
                if done % config.checkpoint_every == 0 or config.stage_at(done) != stage or done == config.steps:
                    self.save(done)
                if config.sample_every and done % config.sample_every == 0:
                    self.sample(done, config.stages[stage].name)
        finally:
            if self.log is not None:
                self.log.close()
        written = checkpoints.all_of(config.output)
        return written[-1] if written else None

    def one_step(self, step: int, batches: Any, level: Level) -> dict[str, float]:
        config, accelerator = self.config, self.accelerator
        rate = config.learning_rate * min(1.0, (step + 1) / max(config.warmup_steps, 1))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        sums, norm = torch.zeros(3, device=accelerator.device), torch.zeros(())
        with self.dit.gradients():
            for _ in range(config.accumulation):
                batch = next(batches).to(accelerator.device)
                with accelerator.accumulate(self.step):
                    losses = self.step(batch, level)
                    accelerator.backward(losses.loss)
                    if accelerator.sync_gradients:
                        norm = accelerator.clip_grad_norm_(self.step.parameters(), config.max_grad_norm)
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                sums += torch.stack([losses.loss.detach(), losses.whole.mean(), losses.lips.mean()])
        loss, whole, lips = (sums / config.accumulation).tolist()
        if not torch.isfinite(sums).all():
            raise FantasyTalkingError(
                f"The loss of step {step + 1} is {loss}: no number to learn from. The run's last checkpoint is from before; "
                "a lower learning_rate or dtype fp32 may help."
            )
        gradient_norm = 0.0 if norm is None else float(norm)  # DeepSpeed clips on its own
        return {"loss": loss, "whole": whole, "lips": lips, "gradient_norm": gradient_norm, "learning_rate": rate}

    def report(self, done: int, found: dict[str, float]) -> None:
        means = torch.tensor(list(found.values()), device=self.accelerator.device)
        found = dict(zip(found, self.accelerator.reduce(means, "mean").tolist(), strict=True))
        if torch.cuda.is_available():
            found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        if self.log is None:
            return
        for name, value in found.items():
            self.log.add_scalar(name, value, done)
        self.say(f"step {done} of {self.config.steps}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()))

    def save(self, done: int) -> None:
        """A checkpoint; every process takes part.

        Raises:
            FantasyTalkingError: it can't be written; the ones before stay.
        """
        config, accelerator, main = self.config, self.accelerator, self.accelerator.is_main_process
        weights, partial = self.weights(), checkpoints.partial_folder(self.config.output, done)
        with checkpoints.explained(config.output):
            if main:
                checkpoints.begin(partial)
                save_adapter(partial / checkpoints.ADAPTER, weights, self.metadata(done))
                self.state(done).write(partial)
                if not self.sharded:
                    checkpoints.save_optimizer(partial, self.optimizer.state_dict())
            if self.sharded:
                accelerator.wait_for_everyone()
                accelerator.save_state(str(partial / checkpoints.SHARDED))
                accelerator.wait_for_everyone()
            if main:
                checkpoints.finish(partial, config.keep)
        accelerator.wait_for_everyone()
        self.say(f"wrote the checkpoint of step {done}")

    def weights(self) -> dict[str, torch.Tensor]:
        """The adapter's, whole, on the CPU; every process takes part."""
        state = self.accelerator.get_state_dict(self.step)
        return {key.removeprefix("adapter."): value.detach().cpu() for key, value in (state or {}).items()}

    def metadata(self, done: int) -> dict[str, str]:
        """What an adapter file of this step says of its training."""
        index, config = self.dataset.index, self.config
        data = {
            "samples": len(index.samples),
            "frames": index.frames,
            "fps": index.fps,
            "width": index.width,
            "height": index.height,
            "encoders": dict(index.models),
        }
        return {
            **self.adapter_metadata,
            "steps": str(done),
            "stages": json.dumps(checkpoints.done_stages(config.plain(), done)),
            "data": json.dumps(data),
            "trained_on": Path(config.model).name,
        }

    def sample(self, done: int, level: Level) -> None:
        """A sample with the weights of now; where it fails, the training goes on."""
        weights = self.weights()
        if self.accelerator.is_main_process and self.sampler is not None:
            try:
                path = self.sampler(weights, self.metadata(done), self.dataset, level, done)
                self.say(f"wrote {path}")
            except Exception:  # whatever it is: days of training do not end for a picture
                logger.warning("FantasyTalking training: the sample of step %d failed.", done, exc_info=True)
        self.dit.place()
        self.accelerator.wait_for_everyone()


def accelerator(config: Config, cpu: bool) -> Any:
    try:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
    except ImportError as error:
        raise FantasyTalkingError(NEEDED.format("accelerate")) from error
    made = Accelerator(
        cpu=cpu,
        gradient_accumulation_steps=config.accumulation,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=LONGEST_WAIT),
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),  # or every gradient is there twice
        ],
    )
    if (plugin := getattr(made.state, "deepspeed_plugin", None)) is not None:  # there is no loader of its own to tell it
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = config.batch_size
    return made
