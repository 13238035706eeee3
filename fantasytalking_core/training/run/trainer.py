"""The training loop (§4.1): AdamW over the adapter, both stages, with logs, samples and checkpoints.

On `accelerate`: what its launcher sets up (one GPU, several, several machines; DDP, FSDP, DeepSpeed) is what this runs on.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ...adapter.file import save_adapter
from ...errors import FantasyTalkingError, first_line, logger, short
from . import checkpoints
from .config import Config, Level
from .dataset import Batch, Dataset, Numbers, loader
from .log import Log
from .memory import Held
from .new_adapter import adapter_of, freeze_audio
from .optimizer import optimizer_of
from .processes import accelerator, is_sharded
from .standing import Standing
from .state import State, done_stages
from .step import Dit, TrainingStep
from .stop import Stop
from .validation import Validation

OnStep = Callable[[int, dict[str, float]], None]
Sampler = Callable[[dict[str, torch.Tensor], dict[str, str], Dataset, Level, int], Path]
"""Weights, their metadata, whose portraits and speeches there are, the stage's level and the step to the file written."""


class Trainer:
    """A run, set up and at the step where it goes on.

    Args:
        dit: the frozen model that the adapter is trained on.
        sampler: writes a sample with the weights of a step; None: no samples.
        stop: what asks the run to end, by a checkpoint.

    Raises:
        FantasyTalkingError: what `Config`, cache, model and checkpoints have against it; accelerate or TensorBoard missing.
    """

    def __init__(self, config: Config, dit: Dit, sampler: Sampler | None = None, stop: Stop | None = None) -> None:
        self.dit, self.sampler, self.stop = dit, sampler, stop or Stop()
        self.accelerator = accelerator(config, dit.device.type == "cpu")
        standing = Standing.of(config, self.accelerator.num_processes)
        self.dataset, self.first_step = standing.dataset, standing.step
        self.config = self.dataset.config
        adapter = adapter_of(standing, self.dit.width, self.dit.blocks)
        self.dit.check(self.dataset.first, adapter)
        self.adapter_metadata = adapter.metadata()
        self.frozen: dict[str, torch.Tensor] = {}
        if not config.trains_audio:
            freeze_audio(adapter, self.dit.dtype)
            if self.accelerator.is_main_process:  # which writes them as they came
                assert standing.file is not None
                self.frozen = {key: w.clone() for key, w in standing.file.weights.items() if key.startswith("audio.")}
        step = TrainingStep(adapter, self.dit)
        held = Held.of(config, self.dit.bytes, adapter)
        optimizer = optimizer_of(config, step, self.dit.device)
        self.step, self.optimizer = self.accelerator.prepare(step, optimizer)
        self.sharded = is_sharded(self.accelerator)
        if standing.folder is not None:
            self.go_on(standing.folder)
        self.validation = Validation(self.dataset, self.step, self.dit, self.accelerator)
        self.log = Log(self.config.output, self.accelerator, self.first_step)
        if standing.folder is not None:
            self.log.say(f"going on from {standing.folder}")
        self.log.say(f"to its end it holds {held} on a device, beside what a step takes")

    def go_on(self, folder: Path) -> None:
        """With the moments of a checkpoint."""
        if not self.sharded:
            checkpoints.restore_optimizer(folder, self.optimizer, self.config)
            return
        path = folder / checkpoints.SHARDED
        try:
            self.accelerator.load_state(str(path))
        except Exception as error:  # whatever FSDP and DeepSpeed raise
            raise FantasyTalkingError(
                f"'{path}' can't be read ({short(first_line(error))}): go on with the launch settings that it was written "
                f"with, or remove '{folder.name}' to go on from the checkpoint before it."
            ) from error

    def run(self, on_step: OnStep | None = None) -> Path | None:
        """Train to the end of the last stage, or until `stop` asks to end; returns the last checkpoint.

        Args:
            on_step: called after every step with its number (from 1) and this process's numbers.

        Raises:
            FantasyTalkingError: a damaged cache, a disk that is full, losses that are no numbers, too little memory.
        """
        try:
            self.dit.place()
            if self.first_step < self.config.steps:
                self.train(on_step)
        except torch.cuda.OutOfMemoryError as error:
            raise FantasyTalkingError(
                f"The memory of {self.accelerator.device} is not enough ({short(first_line(error))}): lower batch_size and "
                "raise accumulation by as much, set gradient_checkpointing to true, weight_dtype to fp8_e4m3fn or optimizer to "
                "adamw8bit, or train on smaller clips."
            ) from error
        finally:
            self.log.close()
        written = checkpoints.all_of(self.config.output)
        return written[-1] if written else None

    def train(self, on_step: OnStep | None) -> None:
        config, seconds, last = self.config, 0.0, self.first_step
        numbers = Numbers(config, self.first_step, self.accelerator.process_index, self.accelerator.num_processes)
        batches = iter(loader(self.dataset, numbers))
        if self.first_step == 0:
            self.validate(0)
        for step in range(self.first_step, config.steps):
            stage, done, started = config.stage_at(step), step + 1, time.monotonic()
            found = self.one_step(step, batches, numbers)
            seconds += time.monotonic() - started
            if done % config.log_every == 0 or done == config.steps:
                self.log.losses(done, config.steps, {**found, "seconds_per_step": seconds / (done - last)})
                seconds, last = 0.0, done
            if on_step is not None:
                on_step(done, found)
            stopped = self.is_asked_to_stop()
            if stopped or done % config.checkpoint_every == 0 or config.stage_at(done) != stage or done == config.steps:
                self.save(done)
            if stopped:
                return
            if config.validation_every and (done % config.validation_every == 0 or done == config.steps):
                self.validate(done)
            if config.sample_every and done % config.sample_every == 0:
                self.sample(done)

    def level(self, done: int) -> Level:
        """That of the stage which the last of so many steps belonged to."""
        return self.config.stages[self.config.stage_at(max(done - 1, 0))].name

    def one_step(self, step: int, batches: Iterator[Batch], numbers: Numbers) -> dict[str, float]:
        config, accelerator = self.config, self.accelerator
        rate = config.learning_rate * min(1.0, (step + 1) / max(config.warmup_steps, 1))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        sums, norm = torch.zeros(3, device=accelerator.device), torch.zeros(())
        with self.dit.gradients():
            for _ in range(config.accumulation):
                batch = next(batches).to(accelerator.device)
                with accelerator.accumulate(self.step):
                    losses = self.step(batch, self.level(step + 1))
                    sums += torch.stack([losses.loss.detach(), losses.whole.mean(), losses.lips.mean()])
                    self.log.count(batch.sigma, losses.each)
                    accelerator.backward(losses.loss)
                    if accelerator.sync_gradients:
                        norm = accelerator.clip_grad_norm_(self.step.parameters(), config.max_grad_norm)
                        self.check_numbers(step, float(sums[0]), norm, numbers)
                    self.optimizer.step()
                    self.optimizer.zero_grad()
        loss, whole, lips = (sums / config.accumulation).tolist()
        gradient_norm = 0.0 if norm is None else float(norm)  # DeepSpeed clips on its own
        return {"loss": loss, "whole": whole, "lips": lips, "gradient_norm": gradient_norm, "learning_rate": rate}

    def check_numbers(self, step: int, loss: float, norm: torch.Tensor | None, numbers: Numbers) -> None:
        """Refuse to learn from a step whose loss or gradient is no number; what several processes add up is so in each.

        Raises:
            FantasyTalkingError: names this process's samples of the step.
        """
        size = loss if norm is None else float(norm)
        if math.isfinite(loss) and math.isfinite(size):
            return
        what = f"loss of step {step + 1} is {loss}" if not math.isfinite(loss) else f"gradient of step {step + 1} is {size}"
        files = ", ".join(dict.fromkeys(self.dataset.file(number) for number in numbers.of_step(step)))
        raise FantasyTalkingError(
            f"The {what}: no number to learn from, so the weights stay as they were (samples: {short(files)}). The last "
            "checkpoint is from before: init can start another run from its adapter, with a lower learning_rate or dtype fp32."
        )

    def is_asked_to_stop(self) -> bool:
        """Any of the processes: they end after the same step."""
        asked = torch.tensor(float(self.stop.signal > 0), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, "sum") > 0)

    def validate(self, done: int) -> None:
        found = self.validation.measure(self.level(done))
        if found:
            self.log.write(done, f"validation after step {done}", found)

    def save(self, done: int) -> None:
        """A checkpoint; every process takes part.

        Raises:
            FantasyTalkingError: it can't be written, or the weights are no numbers; the ones before stay.
        """
        config, accelerator, main = self.config, self.accelerator, self.accelerator.is_main_process
        weights, partial = self.weights(), checkpoints.partial_folder(self.config.output, done)
        if name := checkpoints.unfit(weights):
            raise FantasyTalkingError(
                f"After step {done}, {name} holds NaN or far too large numbers, and is not written. The last checkpoint is "
                "from before: init can start another run from its adapter, with a lower learning_rate or dtype fp32."
            )
        with checkpoints.explained(config.output):
            if main:
                checkpoints.begin(partial)
                save_adapter(partial / checkpoints.ADAPTER, weights, self.metadata(done))
                State.of(config, done, accelerator.num_processes, self.dataset.digest()).write(partial)
                if not self.sharded:
                    checkpoints.save_optimizer(partial, self.optimizer.state_dict())
            if self.sharded:
                accelerator.wait_for_everyone()
                accelerator.save_state(str(partial / checkpoints.SHARDED))
                accelerator.wait_for_everyone()
            if main:
                checkpoints.finish(partial, config.keep)
        accelerator.wait_for_everyone()
        self.log.say(f"wrote the checkpoint of step {done}")

    def weights(self) -> dict[str, torch.Tensor]:
        """The adapter's, whole, on the CPU; every process takes part."""
        state = self.accelerator.get_state_dict(self.step)
        return {key.removeprefix("adapter."): value.detach().cpu() for key, value in (state or {}).items()} | self.frozen

    def metadata(self, done: int) -> dict[str, str]:
        """What an adapter file of this step says of its training."""
        index, config = self.dataset.index, self.config
        data = {
            "samples": len(self.dataset.trained),
            "held_out": len(self.dataset.held_out),
            "frames": index.frames,
            "fps": index.fps,
            "width": index.width,
            "height": index.height,
            "encoders": dict(index.models),
            "made": dict(index.made),
        }
        return {
            **self.adapter_metadata,
            "steps": str(done),
            "stages": json.dumps(done_stages(config.plain(), done)),
            "data": json.dumps(data),
            "trained_on": Path(config.model).name,
        }

    def sample(self, done: int) -> None:
        """A sample with the weights of now; where it fails, the training goes on."""
        weights = self.weights()
        if self.accelerator.is_main_process and self.sampler is not None:
            try:
                path = self.sampler(weights, self.metadata(done), self.dataset, self.level(done), done)
                self.log.say(f"wrote {path}")
            except Exception:  # whatever it is: days of training do not end for a picture
                logger.warning("FantasyTalking training: the sample of step %d failed.", done, exc_info=True)
        self.dit.place()
        self.accelerator.wait_for_everyone()
