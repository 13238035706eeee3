"""The small trained models that come with the pack, for trying it out before anything is downloaded."""

from dataclasses import dataclass
from pathlib import Path

import comfy.sd
import comfy.utils
from comfy.model_patcher import ModelPatcher

from .loading import Wav2VecEncoder, load_adapter, load_wav2vec
from .pack_files import PACK, loaded
from .patch import apply_adapter
from .stand_ins import StandInImageEncoder, StandInTextEncoder

FOLDER = PACK / "sources/drawn_world/models"
SIZE = 96
"""Pixels, both sides of the pictures that they were trained on."""
KNOWN = f"small demo models: know only drawn people of {SIZE}×{SIZE} pixels"
"""In two lines of 28 letters, which fit on a node that has no widget."""


@dataclass(frozen=True, eq=False)
class SmallModels:
    """All that a graph loads.

    Attributes:
        model: the DiT with the adapter at its published strengths.
        clip, clip_vision: the stand-ins that it was trained with.
    """

    model: ModelPatcher
    clip: StandInTextEncoder
    vae: comfy.sd.VAE
    clip_vision: StandInImageEncoder
    wav2vec: Wav2VecEncoder


def load_small_models(folder: Path = FOLDER) -> SmallModels:
    """The family as the loaders would give it.

    Raises:
        FantasyTalkingError: a file is missing or damaged.
    """
    adapter = loaded(folder / "adapter.safetensors", load_adapter)
    dit = loaded(folder / "dit.safetensors", lambda path: comfy.sd.load_diffusion_model(str(path)))
    return SmallModels(
        model=apply_adapter(dit, adapter),
        clip=StandInTextEncoder(),
        vae=loaded(folder / "vae.safetensors", _vae),
        clip_vision=StandInImageEncoder(),
        wav2vec=loaded(folder / "wav2vec2", load_wav2vec),
    )


def _vae(path: Path) -> comfy.sd.VAE:
    """As the host's VAELoader."""
    weights, metadata = comfy.utils.load_torch_file(str(path), return_metadata=True)
    vae = comfy.sd.VAE(sd=weights, metadata=metadata)
    vae.throw_exception_if_invalid()
    if hasattr(comfy.sd, "load_vae_patcher"):  # how newer hosts make a copy for another GPU
        vae.patcher.cached_patcher_init = (comfy.sd.load_vae_patcher, (str(path), metadata, None))
    return vae
