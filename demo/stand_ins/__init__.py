"""Demo only, as a pack beside this one: stand-ins for what can not be made small, and faster 3D convolutions.

The demo's files of UMT5-XXL and CLIP ViT-H hold no weights: the host's loaders give the pack's own stand-ins
(fantasytalking_core/host/stand_ins.py) for them. On a CPU, 3D convolutions are computed as suits the few channels of the small
VAE (sources/drawn_world/convolution.py).
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import ComfyExtension, io
from safetensors import safe_open

import nodes

STAND_IN = "fantasytalking demo stand-in"
"""The format that such a file's metadata names."""
UNTIL_THE_END = ExitStack()
"""Keeps what holds for as long as the server runs."""


def is_stand_in(path: str) -> bool:
    """Whether the file is one of the demo's, without weights."""
    if not path.endswith(".safetensors"):
        return False
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("format") == STAND_IN


def standing_in(loader: type, folder: str, stand_in: Callable[[], Any]) -> None:
    """Let a loader of the host give a stand-in for such a file; all others it loads as ever."""
    load = loader.load_clip

    def load_clip(self, clip_name: str, *args: Any, **kwargs: Any) -> tuple:
        if is_stand_in(folder_paths.get_full_path_or_raise(folder, clip_name)):
            return (stand_in(),)
        return load(self, clip_name, *args, **kwargs)

    loader.load_clip = load_clip


class DemoExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return []


async def comfy_entrypoint() -> DemoExtension:
    root = Path(__file__).resolve().parents[2]
    sys.path.extend([str(root), str(root / "sources")])  # last: what the host has goes first
    from drawn_world.convolution import convolutions_as_2d
    from fantasytalking_core.host.stand_ins import StandInImageEncoder, StandInTextEncoder

    UNTIL_THE_END.enter_context(convolutions_as_2d())
    standing_in(nodes.CLIPLoader, "text_encoders", StandInTextEncoder)
    standing_in(nodes.CLIPVisionLoader, "clip_vision", StandInImageEncoder)
    return DemoExtension()
