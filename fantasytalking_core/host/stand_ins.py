"""Stand-ins for UMT5-XXL and CLIP ViT-H, which can not be made small: what the small models read in their place.

The host's CLIPTextEncode and CLIPVisionEncode run on them as on its own encoders. The small DiT was trained with them.
"""

import hashlib
import re

import comfy.clip_model
import comfy.clip_vision
import torch

TEXT_ROWS, TEXT_DIM = 32, 64
"""What the small DiT reads in the place of 512 × 4096."""
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
