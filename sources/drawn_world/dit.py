"""The small DiT: Wan2.1 I2V of the host's own class, trained from scratch as image to video, without any speech.

Flow matching as in the adapter's training (`fantasytalking_core.training.run.objective`), but for every weight of the DiT. It
learns the drawn people and how they move; when their mouths open it can't know, that is left to the adapter.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import comfy.ops
import torch
from comfy.ldm.wan.model import WanModel
from safetensors.torch import save_file
from torch import nn

from fantasytalking_core.files import complete
from fantasytalking_core.host.training_dit import MASK_CHANNELS, in_training, plain_attention
from fantasytalking_core.training.data.cache import Index, load_null_text
from fantasytalking_core.training.data.sample import Sample
from fantasytalking_core.training.run.dataset import padded
from fantasytalking_core.training.run.objective import generator, noised, shifted, whole_losses

from . import SEED, TEXT_DIM, TEXT_ROWS
from .loop import Plan, cheaper_products, device, fit

SHIFT = 3.0
"""Of the training sigmas. The adapter is trained and sampled with 5; less shift gives more of the steps to fine detail,
which a DiT that begins with nothing has to learn as well."""
NULL_TEXT, OTHER_TEXT = 0.1, 0.3
"""How often the prompt is that of the empty one, and how often random words, so that no other prompt means anything."""
OTHER_WORDS = 30
"""Random words at most."""
DROP_IMAGE = 0.05
TIMESTEPS = 1000.0
"""The timestep that the host gives Wan for σ = 1."""


@dataclass(frozen=True)
class Sizes:
    """Of the DiT; what is not named here is as in Wan2.1 I2V 14B."""

    dim: int = 256
    heads: int = 8
    layers: int = 6
    ffn_dim: int = 1024
    text_dim: int = TEXT_DIM


@dataclass(frozen=True)
class Batches:
    """How many samples a step has: of `every` steps the last one long clips, the middle one pairs of people, all others
    short clips of one person."""

    short: int = 32
    long: int = 12
    pairs: int = 16
    every: int = 5

    def kind(self, step: int) -> str:
        """The name of the caches that a step draws from."""
        return {self.every - 1: "long", self.every // 2: "pairs"}.get(step % self.every, "short")

    def size(self, step: int) -> int:
        return getattr(self, self.kind(step))


PLAN = Plan(steps=1900, rate=1e-3, muon=0.02, average=0.998, checkpoint_every=50)
AGAIN = Plan(steps=10_400, rate=7e-4, muon=0.014, average=0.998, checkpoint_every=50)
"""Goes on from the averaged weights.

Measured: the loss is 0.162 after the first plan and 0.092 after this one. Heads of held-out people are then as near to the
portrait as the VAE alone leaves them (5.9 and 6.0 in Lab), which were 1.4 times as far; 0.022 s a step on a GPU."""


@dataclass(frozen=True, eq=False)
class Samples:
    """All samples of a cache in memory, in float16.

    Attributes:
        latents, image: `[N, 16, T, h, w]`.
        clip: `[N, tokens, 1280]`.
        text: `[N, TEXT_ROWS, text]`.
        null_text: `[TEXT_ROWS, text]`.
    """

    latents: torch.Tensor
    image: torch.Tensor
    clip: torch.Tensor
    text: torch.Tensor
    null_text: torch.Tensor

    @classmethod
    def load(cls, cache: Path) -> "Samples":
        samples = [Sample.load(cache / entry.file) for entry in Index.load(cache).samples]
        latents, image, clip = (torch.stack([getattr(each, name) for each in samples]) for name in ("latents", "image", "clip"))
        text = torch.stack([padded(each.text, TEXT_ROWS) for each in samples]).half()
        return cls(latents, image, clip, text, padded(load_null_text(cache), TEXT_ROWS).half())


class Batch(NamedTuple):
    """What one step reads, in float32: `x0` and `noise` `[B, 16, T, h, w]`, `sigma` `[B]`, and what is given with them.

    Attributes:
        given: `[B, 20, T, h, w]`, mask and image latents; zero where the image is dropped, as is `clip`.
    """

    x0: torch.Tensor
    noise: torch.Tensor
    sigma: torch.Tensor
    given: torch.Tensor
    clip: torch.Tensor
    text: torch.Tensor


def draw(samples: Samples, size: int, step: int) -> Batch:
    """The batch of a step: all chance follows from its number."""
    source = generator("dit", SEED, step)
    places = torch.randint(len(samples.latents), (size,), generator=source)
    u, text_chance, image_chance = torch.rand(3, size, generator=source)
    x0, image, clip, text = (getattr(samples, name)[places].float() for name in ("latents", "image", "clip", "text"))
    noise, words = torch.randn(x0.shape, generator=source), torch.randn(text.shape, generator=source)
    counts = torch.randint(1, OTHER_WORDS + 1, (size, 1), generator=source)
    words = words * (torch.arange(text.shape[1]) < counts)[..., None]
    is_null, is_other = (chosen[:, None, None] for chosen in (text_chance < NULL_TEXT, text_chance > 1 - OTHER_TEXT))
    text = torch.where(is_null, samples.null_text.float(), torch.where(is_other, words, text))
    shown = (image_chance >= DROP_IMAGE).float()
    mask = torch.zeros_like(x0[:, :MASK_CHANNELS])
    mask[:, :, 0] = 1.0
    given = torch.cat([mask, image], dim=1) * shown[:, None, None, None, None]
    return Batch(x0, noise, shifted(u, SHIFT), given, clip * shown[:, None, None], text)


def velocity(dit: WanModel, batch: Batch) -> torch.Tensor:
    """v of the batch's noised samples, `[B, 16, T, h, w]` float32."""
    seen = torch.cat([noised(batch.x0, batch.noise, batch.sigma), batch.given], dim=1)
    options = {"optimized_attention_override": plain_attention}
    with cheaper_products(seen.device):
        found = dit(seen, TIMESTEPS * batch.sigma, context=batch.text, clip_fea=batch.clip, transformer_options=options)
    return found.float()


def new_dit(sizes: Sizes = Sizes()) -> WanModel:
    """A DiT that gives v = 0 for everything, ready to learn.

    The host leaves its weights as the memory was. All are Xavier's here: the standard deviation 0.02 that Wan has for its
    embeddings is nearly that at the width of the 14B model, and a quarter of it at this one.
    """
    dit = WanModel(
        model_type="i2v",
        in_dim=36,
        dim=sizes.dim,
        ffn_dim=sizes.ffn_dim,
        freq_dim=256,
        text_dim=sizes.text_dim,
        out_dim=16,
        num_heads=sizes.heads,
        num_layers=sizes.layers,
        cross_attn_norm=True,
        operations=comfy.ops.disable_weight_init,
        dtype=torch.float32,
    )
    source = generator("dit", SEED, "weights")
    with torch.no_grad():
        for name, value in dit.named_parameters():
            if name.endswith("modulation"):
                value.normal_(0, sizes.dim**-0.5, generator=source)
            elif name == "head.head.weight":
                value.zero_()
            elif value.ndim > 1:
                nn.init.xavier_uniform_(value.flatten(1), generator=source)
            elif name.startswith("text_embedding"):  # a bias: rows of zeros must not become keys of no length, which are normed
                value.normal_(0, 0.02, generator=source)
            else:
                value.fill_(1.0 if name.endswith("weight") else 0.0)
    return dit


def train(
    caches: Mapping[str, Path],
    path: Path,
    checkpoint: Path,
    plan: Plan = PLAN,
    again: Plan = AGAIN,
    sizes: Sizes = Sizes(),
    batches: Batches = Batches(),
) -> None:
    """Train on caches; on a GPU, if there is one.

    Args:
        caches: by the kinds of `batches`.
        path: the safetensors file to write, in float16, as the host's loader of diffusion models takes it.
        checkpoint: see `fit`; that of `again` lies beside it.
    """
    dit = new_dit(sizes).to(device())
    samples = {kind: Samples.load(cache) for kind, cache in caches.items()}

    def drawn(before: int, step: int) -> Batch:
        return draw(samples[batches.kind(step)], batches.size(step), before + step)

    def loss(*batch: torch.Tensor) -> torch.Tensor:
        seen = Batch(*batch)
        return whole_losses(velocity(dit, seen), seen.x0, seen.noise).mean()

    with in_training():  # the backward pass too
        dit.load_state_dict(fit(dit, partial(drawn, 0), loss, plan, checkpoint))
        second = checkpoint.with_name(f"{checkpoint.stem}_again.pt")
        weights = fit(dit, partial(drawn, plan.steps), loss, again, second)
    save(path, weights, sizes)


def save(path: Path, weights: dict[str, torch.Tensor], sizes: Sizes) -> None:
    """The file with what no weight tells the host: the number of heads, and that prompts are this wide."""
    about = {"transformer": {"num_heads": sizes.heads, "text_dim": sizes.text_dim}}
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete(path) as partial:
        save_file({name: value.half().cpu() for name, value in weights.items()}, partial, {"config": json.dumps(about)})
