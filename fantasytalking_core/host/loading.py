"""Files to models under the host's memory manager."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher

from ..adapter.adapter import Adapter
from ..adapter.file import read_adapter
from ..errors import FantasyTalkingError, first_line, short
from ..speech import wav2vec
from ..speech.wav2vec_file import load_wav2vec2_file
from .checks import IMAGE_TO_VIDEO

if TYPE_CHECKING:
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

PIECE_MEMORY = 2 * 1024**3
"""Bytes that encoding one 30 s piece needs at most, beside the encoder's weights (measured: docs/performance.md)."""


def load_adapter(path: str | Path, disable_dynamic: bool = False) -> ModelPatcher:
    """An adapter file as a model that the host loads, offloads and clones.

    The blocks' weights keep their type; float32 ones are stored in the type that the host picks for diffusion models
    on this device, which halves their memory on a GPU. The projector and the motion network are small and stay in
    float32, in which they compute; the identity resampler computes in float32 from what it is stored in, once per run.

    Args:
        disable_dynamic: asked for by the host when it makes a copy for another device.
    """
    file = read_adapter(path)
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    module = Adapter(
        file.audio,
        file.identity,
        file.motion,
        file.ranges,
        file.face_encoder,
        operations=comfy.ops.manual_cast,
        device="meta",
    )
    kind = ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = kind(module, load_device=device, offload_device=offload)
    count = sum(weight.numel() for weight in file.weights.values())
    weights = {  # copied out of the file, unless the host reads it as it goes
        key: weight.to(offload, _stored(key, weight.dtype, count, device), copy=not patcher.is_dynamic())
        for key, weight in file.weights.items()
    }
    module.load_state_dict(weights, assign=True)
    module.requires_grad_(False).eval()
    patcher.cached_patcher_init = (load_adapter, (path,))
    return patcher


def _stored(key: str, dtype: torch.dtype, count: int, device: torch.device) -> torch.dtype:
    """The type that a weight of the file is kept in, among `count` parameters."""
    if key.startswith(("audio.projector.", "motion.")):
        return torch.float32
    if dtype not in (torch.float32, torch.float64):
        return dtype
    types = [torch.bfloat16, torch.float16, torch.float32]
    picked = comfy.model_management.unet_dtype(device, count, types)
    return picked if picked in types else torch.bfloat16  # the host's flags for 8-bit DiTs are not for this


def load_dit(name: str, weight_dtype: str) -> ModelPatcher:
    """A diffusion model as the host's own loader gives it.

    Raises:
        FantasyTalkingError: the host can't load it: a file of another kind, a broken one, none of that name.
    """
    import nodes  # the host's

    through = (comfy.model_management.InterruptProcessingException, torch.cuda.OutOfMemoryError, MemoryError)
    try:
        return nodes.UNETLoader().load_unet(name, weight_dtype)[0]
    except through:
        raise
    except Exception as error:  # it raises another type for each kind of file
        raise FantasyTalkingError(
            f"'{short(name)}' can't be loaded as a diffusion model ({short(first_line(error))}): expected {IMAGE_TO_VIDEO} in "
            "ComfyUI/models/diffusion_models, choose that file, or download it again."
        ) from error


@dataclass(frozen=True)
class Wav2VecEncoder:
    """The value of an FT_WAV2VEC wire: the speech encoder under the host's memory manager, and its preprocessor."""

    patcher: ModelPatcher
    extractor: "Wav2Vec2FeatureExtractor"

    @property
    def model(self) -> "Wav2Vec2Model":
        return self.patcher.model.encoder

    def encode(self, speech: torch.Tensor) -> torch.Tensor:
        """Audio tokens `[L, width]` of mono 16 kHz speech `[samples]`, with the host's progress and interruption."""
        comfy.model_management.load_models_gpu([self.patcher], memory_required=PIECE_MEMORY)
        bar = comfy.utils.ProgressBar(100)

        def progress(done: int, total: int) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update_absolute(round(100 * done / total))

        return wav2vec.encode(speech, self.model, self.extractor, self.patcher.load_device, progress)


def load_wav2vec(path: Path) -> Wav2VecEncoder:
    """Of a folder, or of wav2vec2-base-960h as one file."""
    load = load_wav2vec2_file if path.is_file() else wav2vec.load_wav2vec2
    model, extractor = load(path)
    holder = torch.nn.Module()  # the host sets `device` on what it manages, which is a property of this model
    holder.encoder = model
    patcher = ModelPatcher(
        holder,
        load_device=comfy.model_management.text_encoder_device(),
        offload_device=comfy.model_management.text_encoder_offload_device(),
    )
    return Wav2VecEncoder(patcher, extractor)
