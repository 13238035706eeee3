"""Where a run stands, on disk: one folder per checkpoint, complete or not there.

    checkpoints/step_00000500/   adapter.safetensors   the weights: an adapter file that the nodes load as it is
                                 optimizer.pt          moments of AdamW; or sharded/, from FSDP and DeepSpeed
                                 state.json            the step and the run's settings

Draws and order follow from the step (`objective`, `dataset`), so nothing else is needed to go on exactly.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...errors import FantasyTalkingError
from .config import Config

CHECKPOINTS = "checkpoints"
ADAPTER, OPTIMIZER, SHARDED, STATE = "adapter.safetensors", "optimizer.pt", "sharded", "state.json"
VERSION = 1
_NAME = re.compile(r"step_(\d{8,})")
DECIDING = (
    "dtype",
    "parts",
    "learning_rate",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "shift",
    "drop",
    "eta",
    "seed",
    "text_rows",
)
"""Settings without which the run would be another one. Those of batches and stages are compared by what they come to."""


@dataclass(frozen=True)
class State:
    """What a checkpoint says of its run.

    Attributes:
        step: steps done.
        samples_per_step: of all processes together.
        cache: `Dataset.digest`.
        config: the run's settings.
    """

    step: int
    samples_per_step: int
    cache: str
    config: Mapping[str, Any]

    @classmethod
    def of(cls, config: Config, step: int, processes: int, cache: str) -> "State":
        plain = json.loads(json.dumps(config.plain()))  # lists for tuples, as it will be read
        return cls(step, config.batch_size * config.accumulation * processes, cache, plain)

    @classmethod
    def read(cls, folder: Path) -> "State":
        """Raises FantasyTalkingError where the folder holds no checkpoint, or one of another version."""
        try:
            stored = json.loads((folder / STATE).read_text(encoding="utf-8"))
            if stored.pop("version") == VERSION:
                return cls(**stored)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FantasyTalkingError(f"'{folder}' is no checkpoint: expected a folder step_… of a training run.") from error
        raise FantasyTalkingError(f"'{folder}' is a checkpoint of another version: go on with the pack that made it.")

    def write(self, folder: Path) -> None:
        (folder / STATE).write_text(json.dumps({"version": VERSION, **vars(self)}, indent=1), encoding="utf-8")

    def check_same_run(self, other: "State", folder: Path) -> None:
        """Refuse to go on from `folder`, which is this one's, with another run's settings.

        Raises:
            FantasyTalkingError: names the settings that differ.
        """
        ours, theirs = _deciding(self, self.step), _deciding(other, self.step)
        differ = [f"{name} was {ours[name]}, is {theirs[name]}" for name in ours if ours[name] != theirs[name]]
        if differ:
            raise FantasyTalkingError(
                f"'{folder}' belongs to another run: {'; '.join(differ)}. Set these back to go on, or choose another output; "
                "init can start that one from this checkpoint's adapter."
            )


def _deciding(state: State, step: int) -> dict[str, Any]:
    settings = {name: state.config[name] if name in state.config else getattr(Config, name) for name in DECIDING}
    return settings | {  # a run from before there was such a setting has its default
        "samples per step": state.samples_per_step,
        "the cache": state.cache,
        "model": Path(state.config["model"]).name,
        f"the way to step {step}": done_stages(state.config, step),
    }


def done_stages(config: Mapping[str, Any], step: int) -> list[dict[str, Any]]:
    """Name and steps of the stages that `step` steps are made of."""
    done = []
    for stage in config["stages"]:
        if step > 0:
            done.append({"name": stage["name"], "steps": min(step, stage["steps"])})
        step -= stage["steps"]
    return done


def all_of(output: Path) -> list[Path]:
    """A run's checkpoints, oldest first; what was not written to its end is none."""
    found = {int(match[1]): path for path in (output / CHECKPOINTS).glob("step_*") if (match := _NAME.fullmatch(path.name))}
    return [found[step] for step in sorted(found)]


def partial_folder(output: Path, step: int) -> Path:
    """Where the checkpoint of a step is written, between `begin` and `finish`."""
    return output / CHECKPOINTS / f"step_{step:08d}.part"


def begin(partial: Path) -> None:
    """An empty folder; what earlier runs did not finish goes."""
    for old in partial.parent.glob("*.part"):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)


def finish(partial: Path, keep: int) -> Path:
    """Give a complete checkpoint its name; older ones than the last `keep` go."""
    for path in [*partial.rglob("*"), partial]:
        _to_disk(path)
    final = partial.with_suffix("")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    _to_disk(final.parent)
    for old in all_of(final.parent.parent)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _to_disk(path: Path) -> None:
    """Wait until a file or a folder's list is on the disk, so that a power cut leaves no empty files under full names."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def explained(output: Path) -> Iterator[None]:
    """What can't be written is said in words. Raises FantasyTalkingError."""
    try:
        yield
    except (OSError, RuntimeError, FantasyTalkingError) as error:  # RuntimeError: torch.save, also where the disk is full
        for partial in (output / CHECKPOINTS).glob("*.part"):
            shutil.rmtree(partial, ignore_errors=True)
        kept = all_of(output)
        rest = f"{kept[-1].name} is complete, and the same command goes on from there" if kept else "none is there yet"
        free = shutil.disk_usage(output).free / 2**30 if output.exists() else 0.0
        raise FantasyTalkingError(
            f"The checkpoint can't be written to '{output}': {error} ({free:.1f} GiB are free on that disk). Make room; "
            f"of the checkpoints, {rest}."
        ) from error


def save_optimizer(folder: Path, state: Mapping[str, Any]) -> None:
    torch.save(state, folder / OPTIMIZER)


def load_optimizer(folder: Path) -> dict[str, Any]:
    """Raises FantasyTalkingError where it is missing or damaged."""
    try:
        return torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise FantasyTalkingError(
            f"'{folder}' holds no {OPTIMIZER}: it was written by FSDP or DeepSpeed, go on with the same launch settings."
        ) from error
    except Exception as error:  # damaged bytes can lead torch's unpickler anywhere
        raise FantasyTalkingError(
            f"'{folder / OPTIMIZER}' is damaged: remove the folder to go on from the one before."
        ) from error
