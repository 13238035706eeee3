"""Adapter files of every layout, and what is said of those that are none."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.adapter.audio import AudioWidths
from fantasytalking_core.adapter.file import read_adapter
from fantasytalking_core.errors import FantasyTalkingError
from support.reference import FOLDER

LAYOUTS = FOLDER / "fantasytalking" / "layouts"
COMMUNITY = LAYOUTS / "community_flat.safetensors"
WHOLE = [path.name for path in sorted(LAYOUTS.iterdir()) if "split" not in path.name]
SPLIT = (LAYOUTS / "split_proj.safetensors", LAYOUTS / "split_blocks.safetensors")
WIDTHS = AudioWidths(audio=768, projected=8, model=256, blocks=2)
PUBLISHED = "https://huggingface.co/acvlab/FantasyTalking (fantasytalking_model.ckpt)"


def weights_of(path: Path = COMMUNITY) -> dict[str, torch.Tensor]:
    """The community layout's weights, by its own names."""
    return load_file(path)


def in_our_names() -> dict[str, torch.Tensor]:
    """The same, by the names of `Adapter`, written out by hand."""
    stored = weights_of()
    names = ("proj.weight", "norm.weight", "norm.bias")
    ours = {f"audio.projector.{name}": stored[f"proj_model.{name}"] for name in names}
    for block in (0, 1):
        for name in ("k_proj.weight", "v_proj.weight"):
            ours[f"audio.blocks.{block}.{name}"] = stored[f"blocks.{block}.cross_attn.{name}"]
    return ours


def assert_same(ours, theirs) -> None:
    assert ours.keys() == theirs.keys()
    for key, weight in theirs.items():
        assert ours[key].dtype == weight.dtype and torch.equal(ours[key], weight), key


def refusal(*paths: Path) -> str:
    with pytest.raises(FantasyTalkingError) as error:
        read_adapter(*paths)
    return str(error.value)


def refusal_of(tmp_path: Path, weights: dict, metadata: dict | None = None) -> str:
    """Why a safetensors file of these weights is refused."""
    save_file(weights, tmp_path / "adapter.safetensors", metadata)
    return refusal(tmp_path / "adapter.safetensors")
