"""Where a run stands, on disk: one folder per checkpoint, complete or not there.

    checkpoints/step_00000500/   adapter.safetensors   the weights: an adapter file that the nodes load as it is
                                 optimizer.pt          moments of AdamW; or sharded/, from FSDP and DeepSpeed
                                 state.json            the step and the run's settings

Draws and order follow from the step (`objective`, `dataset`), so nothing else is needed to go on exactly.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...adapter.file import AdapterFile, read_adapter
from ...adapter.sizes import LARGEST_WEIGHT
from ...errors import FantasyTalkingError, short
from .config import Config
from .optimizer import are_moments
from .state import damaged

CHECKPOINTS = "checkpoints"
ADAPTER, OPTIMIZER, SHARDED = "adapter.safetensors", "optimizer.pt", "sharded"
_NAME = re.compile(r"step_(\d{8,})")


def all_of(output: Path) -> list[Path]:
    """A run's checkpoints, oldest first; what was not written to its end is none."""
    folders = [path for path in (output / CHECKPOINTS).glob("step_*") if path.is_dir()]
    found = {int(match[1]): path for path in folders if (match := _NAME.fullmatch(path.name))}
    return [found[step] for step in sorted(found)]


def name_of(step: int) -> str:
    return f"step_{step:08d}"


def partial_folder(output: Path, step: int) -> Path:
    """Where the checkpoint of a step is written, between `begin` and `finish`."""
    return output / CHECKPOINTS / f"{name_of(step)}.part"


def begin(partial: Path) -> None:
    """An empty folder; what earlier runs did not finish goes."""
    for old in partial.parent.glob("*.part"):
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink()
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


def load_adapter(folder: Path) -> AdapterFile:
    """Raises FantasyTalkingError where it is missing or damaged, or holds what is no finite number."""
    path = folder / ADAPTER
    try:
        return read_adapter(path)
    except FantasyTalkingError as error:
        raise damaged(path, short(str(error))) from error


def save_optimizer(folder: Path, state: Mapping[str, Any]) -> None:
    torch.save(state, folder / OPTIMIZER)


def load_optimizer(folder: Path) -> dict[str, Any]:
    """Raises FantasyTalkingError where it is missing or damaged."""
    try:
        return torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        if not (folder / SHARDED).exists():
            raise damaged(folder / OPTIMIZER, "it is not there") from error
        raise FantasyTalkingError(
            f"'{folder}' holds no {OPTIMIZER}: it was written by FSDP or DeepSpeed, go on with the same launch settings."
        ) from error
    except Exception as error:  # damaged bytes can lead torch's unpickler anywhere
        raise damaged(folder / OPTIMIZER) from error


def restore_optimizer(folder: Path, optimizer: torch.optim.Optimizer, config: Config) -> None:
    """The moments of a checkpoint; rate and decay stay those of the run.

    Raises:
        FantasyTalkingError: the file is missing or damaged, or its moments are not those of these weights.
    """
    stored = load_optimizer(folder)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    try:
        moments = [stored["state"][number] for number in range(len(weights))]
        if not all(are_moments(config, each, weight) for each, weight in zip(moments, weights, strict=True)):
            raise ValueError
        optimizer.load_state_dict({"state": dict(enumerate(moments)), "param_groups": optimizer.state_dict()["param_groups"]})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(folder / OPTIMIZER, "its moments are not those of this run's weights") from error


def unfit(weights: Mapping[str, torch.Tensor]) -> str:
    """The name of a weight that no adapter file may hold: of NaN or of far too large numbers; empty where there is none."""
    return next((name for name, weight in weights.items() if not weight.abs().max() <= LARGEST_WEIGHT), "")
