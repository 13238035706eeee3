"""Demo only: small stand-ins for the loaders of UMT5-XXL and CLIP ViT-H, which can not be made small.

What they load has no weights; the host's own CLIPTextEncode and CLIPVisionEncode run on it.
"""
import hashlib

import comfy.clip_model
import comfy.clip_vision
import torch
from comfy_api.latest import ComfyExtension, io

TEXT_LENGTH, TEXT_DIM = 512, 4096
PATCH, PATCHES, IMAGE_DIM = 14, 16, 1280


class StandInTextEncoder:
    """Gives every word a fixed random vector; zero rows after the text, as the host's Wan text encoder has them."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()[:TEXT_LENGTH]

    def encode_from_tokens_scheduled(self, tokens: list[str]) -> list[list]:
        """CONDITIONING with an embedding [1, 512, 4096]."""
        embedding = torch.zeros(1, TEXT_LENGTH, TEXT_DIM)
        for position, word in enumerate(tokens):
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
            embedding[0, position] = torch.randn(TEXT_DIM, generator=torch.Generator().manual_seed(seed))
        return [[embedding, {"pooled_output": None}]]


class StandInImageEncoder:
    """Projects each patch of the picture, and their mean in place of the class token, by one fixed random matrix."""

    def encode_image(self, image: torch.Tensor, crop: bool = True) -> comfy.clip_vision.Output:
        """An Output with penultimate_hidden_states [B, 257, 1280] from an IMAGE [B, H, W, C]."""
        pixels = comfy.clip_model.clip_preprocess(image, size=PATCH * PATCHES, crop=crop)
        patches = torch.nn.functional.unfold(pixels.float(), PATCH, stride=PATCH).movedim(1, 2)
        patches = torch.cat([patches.mean(1, keepdim=True), patches], 1)
        width = patches.shape[-1]
        matrix = torch.randn(width, IMAGE_DIM, generator=torch.Generator().manual_seed(0)) / width ** 0.5
        output = comfy.clip_vision.Output()
        output["penultimate_hidden_states"] = patches @ matrix.to(patches.device)
        return output


class DemoCLIPLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingDemoCLIPLoader",
            display_name="Load CLIP (demo stand-in)",
            category="FantasyTalking/demo",
            description="Stands in for CLIPLoader with UMT5-XXL where only the pipeline is to be shown.",
            inputs=[],
            outputs=[io.Clip.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(StandInTextEncoder())


class DemoCLIPVisionLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingDemoCLIPVisionLoader",
            display_name="Load CLIP Vision (demo stand-in)",
            category="FantasyTalking/demo",
            description="Stands in for CLIPVisionLoader with CLIP ViT-H where only the pipeline is to be shown.",
            inputs=[],
            outputs=[io.ClipVision.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(StandInImageEncoder())


class DemoExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [DemoCLIPLoader, DemoCLIPVisionLoader]


async def comfy_entrypoint() -> DemoExtension:
    return DemoExtension()
