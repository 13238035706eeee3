"""From a checkpoint to files that other programs load: our own layout, and the public one for the audio part."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..adapter.file import save_adapter
from ..errors import FantasyTalkingError
from .run import checkpoints
from .run.state import STATE, State, told_stages


def checkpoint_of(path: Path) -> Path:
    """The checkpoint's folder, or the latest one of a run's output folder."""
    if (path / STATE).is_file():
        return path
    if found := checkpoints.all_of(path):
        return found[-1]
    raise FantasyTalkingError(f"'{path}' holds no checkpoint: expected the output folder of a training run, or a step_… in it.")


def public_name(key: str) -> str | None:
    """The name in the community's flat layout of a weight of `Adapter`; None for what that layout has not."""
    if key.startswith("audio.projector."):
        return key.replace("audio.projector.", "proj_model.")
    if key.startswith("audio.blocks."):
        _, blocks, number, rest = key.split(".", 3)
        return f"{blocks}.{number}.cross_attn.{rest}"
    return None


def public_layout(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The audio part's weights under public names (`layouts`: community)."""
    return {name: value.contiguous() for key, value in weights.items() if (name := public_name(key))}


def export(source: Path, target: Path, public: Path | None = None, dtype: torch.dtype | None = None) -> str:
    """Write the files; returns a line about them.

    Raises:
        FantasyTalkingError: no checkpoint, a file that is there already or can't be written.
    """
    if public == target:
        raise FantasyTalkingError(f"Both files are '{target}': give the public one another name.")
    for path in filter(None, (target, public)):
        if path.suffix != ".safetensors":
            raise FantasyTalkingError(f"The target is '{path}', expected a name that ends in .safetensors.")
        if path.exists():
            raise FantasyTalkingError(f"'{path}' exists already: choose another name or remove it.")
        if not path.parent.is_dir():
            raise FantasyTalkingError(f"There is no folder '{path.parent}': make it first.")
    folder = checkpoint_of(source)
    state, adapter = State.read(folder), checkpoints.load_adapter(folder)
    weights = {key: value if dtype is None else value.to(dtype) for key, value in adapter.weights.items()}
    save_adapter(target, weights, adapter.metadata)
    if public is not None:
        try:
            save_file(public_layout(weights), public)
        except (OSError, SafetensorError) as error:
            public.unlink(missing_ok=True)
            raise FantasyTalkingError(f"'{public}' can't be written: {error}.") from error
    stages = told_stages(state.config, state.step)
    return f"{target}: {', '.join(adapter.parts)}; {stages}"
