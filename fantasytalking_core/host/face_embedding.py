"""Face recognition beside the host's models: room on its device, its progress and interruption."""

import comfy.model_management
import comfy.utils
import torch

from ..adapter.identity import FaceEmbedding
from ..face.encoder import FaceEncoder, accelerated, embed

MEMORY = 1024**3
"""Bytes of GPU memory that the host is asked to free for onnxruntime: an allowance, four times the largest file."""


def embed_faces(faces: torch.Tensor, encoder: FaceEncoder) -> FaceEmbedding:
    """One identity of aligned faces `[B, 112, 112, 3]`, see `face.encoder.embed`."""
    management = comfy.model_management
    device = management.get_torch_device()
    if accelerated(device):
        management.free_memory(MEMORY, device)
    bar = comfy.utils.ProgressBar(len(faces))

    def progress(done: int, total: int) -> None:
        management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return embed(faces, encoder, device, progress)
