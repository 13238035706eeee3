"""A Wan I2V DiT of any size with random weights on the host.

Import it before anything else of the host, which looks for a GPU when it is imported: this says whether there is one.
"""

import comfy.cli_args
import torch

comfy.cli_args.args.cpu = not torch.cuda.is_available()

import comfy.clip_vision
import comfy.model_management
import comfy.ops
import comfy.sd
import common  # noqa: F401  puts the pack on sys.path
from comfy.ldm.wan.model import WanModel
from comfy.model_patcher import ModelPatcher

from fantasytalking_core.adapter.adapter import Adapter
from fantasytalking_core.adapter.audio import AudioWidths
from fantasytalking_core.host.conditioning import entries_of, with_entries
from fantasytalking_core.host.patch import apply_adapter
from fantasytalking_core.speech.speaker import Speaker
from fantasytalking_core.speech.speech import Speech
from fantasytalking_core.speech.windows import latent_frames


def random_weights(module: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights for a module on the meta device, scaled so that activations keep their size."""
    weights = {}
    for key, value in module.state_dict().items():
        fan = value[0].numel() if value.ndim > 1 else 1
        weights[key] = torch.randn(value.shape, device=device, dtype=dtype) / fan**0.5
        if "norm" in key:
            weights[key].fill_(1.0 if key.endswith("weight") else 0.0)
    return weights


def random_model(dim: int, blocks: int, ffn: int, projected: int = 2048, dtype: torch.dtype = torch.float32) -> ModelPatcher:
    """The host's Wan I2V model with an adapter applied, both with random weights."""
    device = comfy.model_management.get_torch_device()
    torch.manual_seed(0)
    size = {"dim": dim, "ffn_dim": ffn, "num_heads": dim // 128, "num_layers": blocks, "text_dim": 4096}
    with torch.device("meta"):
        dit = WanModel(model_type="i2v", in_dim=36, out_dim=16, **size, operations=comfy.ops.disable_weight_init)
        widths = AudioWidths(audio=768, projected=projected, model=dim, blocks=blocks)
        shapes = Adapter(widths)
    model = comfy.sd.load_diffusion_model_state_dict(random_weights(dit, device, dtype))
    adapter = Adapter(widths, operations=comfy.ops.manual_cast, device=device, dtype=dtype).requires_grad_(False)
    adapter.load_state_dict(random_weights(shapes, device, dtype))
    patcher = ModelPatcher(adapter, load_device=device, offload_device=comfy.model_management.unet_offload_device())
    return apply_adapter(model, patcher)


def random_clip(frames: int, height: int, width: int, fps: float = 23.0) -> tuple[list, list, dict]:
    """Positive conditioning with speech, negative without, and the latent of a clip."""
    shape = (1, 16, latent_frames(frames), height // 8, width // 8)
    clip = comfy.clip_vision.Output()
    clip["penultimate_hidden_states"] = torch.randn(1, 257, 1280)
    about = {"concat_latent_image": torch.randn(shape), "concat_mask": torch.ones(1, 1, *shape[2:]), "clip_vision_output": clip}
    positive, negative = ([[torch.randn(1, 512, 4096), dict(about)]] for _ in range(2))
    speech = Speech(torch.randn(round(frames / fps * 50) - 1, 768), frames, fps)
    return with_entries(positive, entries_of(Speaker(speech))), negative, {"samples": torch.zeros(shape)}
