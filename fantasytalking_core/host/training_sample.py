"""A sample from a run in training: a portrait and a speech of the cache, through the guider and sampler of the nodes."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.samplers
import comfy.sd
import comfy.utils
import torch
from comfy.ldm.wan.vae import WanVAE
from comfy_api.latest import InputImpl, Types
from comfy_extras import nodes_custom_sampler
from safetensors.torch import save_file

from ..adapter.file import save_adapter
from ..adapter.identity import FaceEmbedding
from ..adapter.motion import Motion
from ..errors import FantasyTalkingError, first_line, short
from ..latent_grid import LATENT_CHANNELS
from ..sampling.guidance import Guidance
from ..sampling.schedule import sigmas
from ..speech.speaker import Speaker
from ..speech.speech import Speech
from ..training.data.sample import Sample
from ..training.run.config import Config, Level
from ..training.run.dataset import Dataset, padded
from .conditioning import Conditioning, entries_of, entries_of_face, entries_of_motion, with_entries
from .folders import model_path
from .guider import FantasyTalkingGuider
from .loading import load_adapter
from .patch import apply_adapter
from .training_dit import TrainingDit, in_training

FOLDER = "samples"
EXPECTED = "set vae to Wan2.1's (wan_2.1_vae.safetensors), or leave it out for latents"


@dataclass(frozen=True)
class HostSampler:
    """Samples with the weights of a step: a silent video where there is a VAE, else a latent for LoadLatent."""

    dit: TrainingDit
    vae: comfy.sd.VAE | None = None

    def __call__(
        self, weights: dict[str, torch.Tensor], metadata: dict[str, str], dataset: Dataset, level: Level, step: int
    ) -> Path:
        config = dataset.config
        folder = config.output / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "adapter.safetensors"
        try:
            save_adapter(file, weights, metadata)
            with in_training(False), torch.no_grad():
                latent = sampled(self.dit, load_adapter(file), dataset, config, level)
        finally:
            file.unlink(missing_ok=True)
        path = folder / f"step_{step:08d}"
        if self.vae is None:
            return write_latent(path.with_suffix(".latent"), latent)
        with torch.no_grad():
            return write_video(path.with_suffix(".mp4"), latent, self.vae, dataset.index.fps)


def sampled(dit: TrainingDit, adapter, dataset: Dataset, config: Config, level: Level) -> torch.Tensor:
    """A latent `[1, 16, T, h, w]` in the VAE's space."""
    sample = dataset.sample(config.sample_index)
    positive, negative = conditioning(dit, adapter.model, sample, dataset, level)
    model = apply_adapter(dit.patcher, adapter)
    return nodes_custom_sampler.SamplerCustomAdvanced.execute(
        nodes_custom_sampler.Noise_RandomNoise(config.seed),
        FantasyTalkingGuider(model, positive, negative, Guidance()),
        comfy.samplers.sampler_object("euler"),
        sigmas(config.sample_steps, config.shift),
        {"samples": torch.zeros(1, *sample.latents.shape)},
    )[0]["samples"]


def conditioning(
    dit: TrainingDit, adapter, sample: Sample, dataset: Dataset, level: Level
) -> tuple[Conditioning, Conditioning]:
    """Positive and negative as WanImageToVideo and FantasyTalking Conditioning would give them."""
    image = sample.image[None].float()
    mask = torch.ones(1, 1, *image.shape[2:])
    mask[:, :, 0] = 0
    clip = comfy.clip_vision.Output()
    clip["penultimate_hidden_states"] = sample.clip[None].float()
    image_options = {
        "concat_latent_image": dit.base.process_latent_out(image),
        "concat_mask": mask,
        "clip_vision_output": clip,
    }
    entries: dict[str, Any] = {}
    if adapter.identity is not None and sample.face is not None:
        entries |= entries_of_face(FaceEmbedding(sample.face.float()))
    if adapter.motion is not None:
        entries |= entries_of_motion(Motion(*dataset.coefficients(sample).tolist()))

    def with_text(text: torch.Tensor) -> Conditioning:
        return with_entries([[padded(text, dataset.config.text_rows)[None], dict(image_options)]], entries)

    speech = Speech(sample.speech.float(), dataset.index.frames, dataset.index.fps)
    positive = with_entries(with_text(sample.text), entries_of(Speaker(speech), clip_level=level == "clip"))
    return positive, with_text(dataset.null_text)


def write_latent(path: Path, latent: torch.Tensor) -> Path:
    save_file({"latent_tensor": latent.contiguous(), "latent_format_version_0": torch.tensor([])}, path)
    return path


def load_vae(name: str) -> comfy.sd.VAE:
    """Wan2.1's VAE, on the device where the host keeps what is not at work.

    Raises:
        FantasyTalkingError: no such file, or another VAE.
    """
    path = model_path("vae", name, "VAE")
    try:
        weights, metadata = comfy.utils.load_torch_file(str(path), return_metadata=True)
        vae = comfy.sd.VAE(sd=weights, metadata=metadata)
        vae.throw_exception_if_invalid()
    except Exception as error:  # whatever the host's loaders raise for a broken file
        raise FantasyTalkingError(f"'{path}' can't be loaded as a VAE ({short(first_line(error))}): {EXPECTED}.") from error
    if not isinstance(vae.first_stage_model, WanVAE) or vae.latent_channels != LATENT_CHANNELS:
        raise FantasyTalkingError(f"'{path}' is another VAE than this DiT's: {EXPECTED}.")
    return vae


def write_video(path: Path, latent: torch.Tensor, vae: comfy.sd.VAE, fps: float) -> Path:
    images = vae.decode(latent)
    images = images.reshape(-1, *images.shape[-3:]).float().cpu()
    components = Types.VideoComponents(images=images, audio=None, frame_rate=Fraction(fps).limit_denominator(1000))
    InputImpl.VideoFromComponents(components).save_to(str(path))
    return path
