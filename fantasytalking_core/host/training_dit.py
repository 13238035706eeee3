"""The host's DiT for training: frozen, called directly, with the adapter's hooks of sampling.

Speech and face join every block's cross-attention as they do there (`cross_attention`); only their keys and values are
prepared by the training step, since every row of a batch has its own.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import comfy.model_management
import comfy.sd
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.model_patcher import ModelPatcher
from einops import rearrange
from torch.utils.checkpoint import checkpoint

from ..adapter.adapter import Adapter
from ..adapter.audio import AudioWidths
from ..adapter.identity import STRENGTH
from ..errors import FantasyTalkingError, first_line, short
from ..training.data.sample import Sample
from ..training.run.dataset import Batch
from ..training.run.step import Added
from .checks import IMAGE_TO_VIDEO, check_model, uncompiled
from .cross_attention import joined
from .folders import model_path
from .model_call import Call, Voice
from .timestep import timestep_embedding_plus

MASK_CHANNELS = 4
"""Channels of the mask that says which latent frames the reference image gives."""


def load_dit(name: str, dtype: torch.dtype, weight_dtype: torch.dtype | None = None) -> ModelPatcher:
    """A DiT by the host's loader, with weights that stay where they are put.

    Args:
        dtype: in which it computes; on a CPU without bf16, the host computes in float32.
        weight_dtype: in which its weights are held, None: `dtype`. What a file holds with scales (fp8_scaled) stays as it is.

    Raises:
        FantasyTalkingError: no such file, no Wan I2V DiT, a device that does not compute in this type, or a `weight_dtype` for
            weights with scales.
    """
    path = model_path("diffusion_models", name, "diffusion model")
    try:
        patcher = comfy.sd.load_diffusion_model(str(path), model_options={"dtype": weight_dtype or dtype}, disable_dynamic=True)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the host's loaders raise for a broken file
        raise FantasyTalkingError(
            f"'{path}' can't be loaded as a diffusion model ({short(first_line(error))}): set model to {IMAGE_TO_VIDEO}."
        ) from error
    dit = uncompiled(patcher.get_model_object("diffusion_model"))
    check_model(patcher, AudioWidths(0, 0, getattr(dit, "dim", 0), len(getattr(dit, "blocks", ()))))
    about = patcher.model.model_config
    if weight_dtype is not None and about.quant_config is not None:
        raise FantasyTalkingError(
            f"'{path.name}' holds weights with scales, which stay as they are, and weight_dtype would round the others: "
            "leave it out."
        )
    supported = about.supported_inference_dtypes
    computing = comfy.model_management.unet_manual_cast(dtype, patcher.load_device, supported) or dtype
    if computing == torch.float16:  # by the host's choice, where the device lacks the run's type
        raise FantasyTalkingError(
            f"{patcher.load_device} does not compute in {dtype}, and fp16 has no room for small gradients: set dtype to fp32."
        )
    if weight_dtype is not None or about.quant_config is not None:
        # else it may be float16; and weights with scales would be multiplied in fp8, with inputs that are rounded to it
        patcher.set_model_compute_dtype(computing)
    return patcher


@contextmanager
def in_training(is_so: bool = True) -> Iterator[None]:
    """The host computes with what has gradients; also while they are computed."""
    before = comfy.model_management.in_training
    comfy.model_management.in_training = is_so
    try:
        yield
    finally:
        comfy.model_management.in_training = before


def plain_attention(func: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    """PyTorch's own attention in the place of whichever the host has picked: that one may have no gradient."""
    return attention_pytorch(*args, **kwargs)


class TrainingDit:
    """A DiT whose weights are never changed.

    Args:
        patcher: from `load_dit`.
        checkpointing: recompute each block's activations in the backward pass.
    """

    def __init__(self, patcher: ModelPatcher, checkpointing: bool = True) -> None:
        self.patcher, self.checkpointing = patcher, checkpointing
        self.base = patcher.model
        self.base.requires_grad_(False).eval()
        self.dit = uncompiled(patcher.get_model_object("diffusion_model"))
        self.dtype: torch.dtype = patcher.get_model_object("manual_cast_dtype") or self.base.get_dtype()
        self.device: torch.device = patcher.load_device

    def place(self) -> None:
        """Put all weights on the device, from wherever they were."""
        comfy.model_management.load_models_gpu([self.patcher], force_full_load=True)

    def gradients(self) -> AbstractContextManager[None]:
        return in_training()

    @property
    def width(self) -> int:
        return self.dit.dim

    @property
    def blocks(self) -> int:
        return len(self.dit.blocks)

    @property
    def bytes(self) -> int:
        return comfy.model_management.module_size(self.dit)

    def check(self, sample: Sample, adapter: Adapter) -> None:
        """Refuse samples of other models than this DiT and this adapter.

        Raises:
            FantasyTalkingError
        """
        channels = self.dit.patch_embedding.weight.shape[1]
        image = channels - MASK_CHANNELS - self.dit.out_dim
        for what, found, expected in (
            ("latents", sample.latents.shape[0], self.dit.out_dim),
            ("image latents", sample.image.shape[0], image),
            ("prompts", sample.text.shape[1], self.dit.text_embedding[0].in_features),
            ("speech tokens", sample.speech.shape[1], adapter.audio.widths.audio),
        ):
            if found != expected:
                raise FantasyTalkingError(
                    f"The cache was made for another model: its {what} have {found} channels, expected {expected}. Run "
                    "prepare with the encoders that belong to this DiT and adapter, into a new folder."
                )
        if adapter.identity is not None and sample.face is not None:
            found, expected = sample.face.shape[0], adapter.identity.widths.embedding
            if found != expected:
                raise FantasyTalkingError(
                    f"The cache was made with another face encoder: its embeddings have width {found}, the adapter's "
                    f"identity weights expect {expected}."
                )

    def velocity(self, x: torch.Tensor, batch: Batch, added: Added) -> torch.Tensor:
        """v of `[B, 16, T, h, w]` at the batch's sigmas, float32; its gradients reach the adapter.

        Only within `gradients`, as is the backward pass.
        """
        mask = torch.zeros_like(x[:, :MASK_CHANNELS])
        mask[:, :, 0] = rearrange(batch.has_image, "b -> b 1 1 1")
        seen = torch.cat([x, mask, batch.image], dim=1)
        call = self.call(x.shape, added)
        options: dict[str, Any] = {"optimized_attention_override": plain_attention}
        joining: AbstractContextManager[None] = joined(self.dit, call)
        if self.checkpointing:
            image_tokens = batch.clip.shape[1]
            blocks = {("double_block", index): self.recomputed(index, call, image_tokens) for index in range(self.blocks)}
            options["patches_replace"] = {"dit": blocks}
            joining = nullcontext()
        with timestep_embedding_plus(self.dit, added.motion), joining:
            return self.dit(
                seen.to(self.dtype),
                self.base.model_sampling.timestep(batch.sigma).float(),
                context=batch.text.to(self.dtype),
                clip_fea=batch.clip.to(self.dtype),
                transformer_options=options,
            ).float()

    def call(self, shape: torch.Size, added: Added) -> Call:
        """What joins in, at the paper's strengths λ1 = 1 and λ2 = 0.5."""
        parts = 1 if added.windows is None else added.windows.shape[1]
        tokens = shape[2] * ((shape[3] + 1) // 2) * ((shape[4] + 1) // 2)
        return Call(
            voices=(Voice(added.speech, added.windows),),
            face=added.face,
            audio_strength=1.0,
            identity_strength=STRENGTH,
            frames=parts,
            tokens_per_frame=tokens // parts,
        )

    def recomputed(self, index: int, call: Call, image_tokens: int) -> Callable[..., dict[str, torch.Tensor]]:
        """A block whose activations are computed again in the backward pass, for `patches_replace`.

        The block is called here and not through the host's `original_block`, which runs whichever block the host's loop
        is at: the last one, when the backward pass comes. For the same reason it has hooks and options of its own.
        """

        def run(args: dict[str, Any], _: Any) -> dict[str, torch.Tensor]:
            options = {**args["transformer_options"], "block_index": index}

            def block(x: torch.Tensor, context: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
                with joined(self.dit, call, index):
                    return self.dit.blocks[index](
                        x, e=e, freqs=args["pe"], context=context, context_img_len=image_tokens, transformer_options=options
                    )

            inputs = (args["img"], args["txt"], args["vec"])
            return {"img": checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)}

        return run
