"""Demo only: small stand-ins for UMT5-XXL and CLIP ViT-H, which can not be made small.

The demo's files of these names hold no weights; the host's loaders give a stand-in for them, and its own CLIPTextEncode
and CLIPVisionEncode run on it.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import comfy.clip_model
import comfy.clip_vision
import folder_paths
import torch
from comfy_api.latest import ComfyExtension, io
from safetensors import safe_open

import nodes

STAND_IN = "fantasytalking demo stand-in"
"""The format that such a file's metadata names."""

TEXT_ROWS, TEXT_DIM = 32, 64
"""What the small DiT reads in the place of 512 × 4096: as in `drawn_world`, which trains it with these classes."""
PATCH, GRID, IMAGE_DIM = 7, 4, 1280
"""Pixels of a patch, patches in a row, and the width that Wan fixes."""


class StandInTextEncoder:
    """Gives every word a fixed random vector; zero rows after the text, as the host's Wan text encoder has them."""

    def tokenize(self, text: str) -> list[str]:
        """At most 32 words in small letters, without punctuation."""
        return re.findall(r"\w+", text.lower())[:TEXT_ROWS]

    def encode_from_tokens_scheduled(self, tokens: list[str]) -> list[list]:
        """CONDITIONING with an embedding [1, 32, 64]: unit variance in the rows of the words."""
        embedding = torch.zeros(1, TEXT_ROWS, TEXT_DIM)
        for position, word in enumerate(tokens):
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
            embedding[0, position] = torch.randn(TEXT_DIM, generator=torch.Generator().manual_seed(seed))
        return [[embedding, {"pooled_output": None}]]


class StandInImageEncoder:
    """Projects each patch of the picture, and their mean in place of the class token, by one fixed random matrix."""

    def encode_image(self, image: torch.Tensor, crop: bool = True) -> comfy.clip_vision.Output:
        """An Output with penultimate_hidden_states [B, 17, 1280] from an IMAGE [B, H, W, C].

        crop: take the square in the middle; else the whole picture is squeezed into one.
        """
        pixels = image[..., :3].float().movedim(-1, 1)
        if crop:
            height, width = pixels.shape[-2:]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            pixels = pixels[..., top : top + side, left : left + side]
        pixels = torch.nn.functional.interpolate(pixels, size=(PATCH * GRID, PATCH * GRID), mode="area")
        pixels = comfy.clip_model.clip_preprocess(pixels.movedim(1, -1), size=PATCH * GRID)  # of that size: only normalised
        patches = torch.nn.functional.unfold(pixels, PATCH, stride=PATCH).movedim(1, 2)
        patches = torch.cat([patches.mean(1, keepdim=True), patches], 1)
        fan_in = patches.shape[-1]
        matrix = torch.randn(fan_in, IMAGE_DIM, generator=torch.Generator().manual_seed(0)) / fan_in**0.5
        output = comfy.clip_vision.Output()
        output["penultimate_hidden_states"] = patches @ matrix.to(patches.device)
        return output


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
    standing_in(nodes.CLIPLoader, "text_encoders", StandInTextEncoder)
    standing_in(nodes.CLIPVisionLoader, "clip_vision", StandInImageEncoder)
    return DemoExtension()
