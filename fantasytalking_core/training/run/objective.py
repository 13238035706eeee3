"""The loss (Eq. 2–3) and everything that chance decides about a training sample.

Flow matching as Wan is trained: x_σ = (1 − σ)·x0 + σ·ε, and the DiT predicts v = ε − x0. The training sigmas are
u uniform in [0, 1), shifted: σ = s·u / (1 + (s − 1)·u), the density of the sampling schedule (`schedule`), s = 5.

Every draw comes from a generator of its own, seeded with the run's seed and the sample's number in the run: so they do
not depend on the number of processes or batches, and a run that goes on draws what it would have drawn.
"""

import hashlib
from dataclasses import dataclass

import torch

from ...sampling.schedule import shifted
from .config import Config

STRETCHES = 4
"""Of sigma, as long as each other, for which losses are told apart: the noisier the stretch, the more its loss is."""


@dataclass(frozen=True, eq=False)
class Draw:
    """What chance decides about one sample.

    Attributes:
        sigma: noise level, in [0, 1).
        noise: ε, like the latents.
        whole: in stage 2, the loss is that of the whole picture (p ≤ η) and not of the lips.
        drop_image, drop_speech, drop_text: what is left out.
    """

    sigma: float
    noise: torch.Tensor
    whole: bool
    drop_image: bool
    drop_speech: bool
    drop_text: bool


def generator(*numbers: int | str) -> torch.Generator:
    """A source of random numbers that belongs to these."""
    digest = hashlib.blake2b(":".join(map(str, numbers)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def draw(number: int, shape: torch.Size, config: Config) -> Draw:
    """The draw of the run's sample `number`, whose latents have this shape."""
    source = generator(config.seed, number)
    u, p, image, speech, text = torch.rand(5, generator=source, dtype=torch.float64).tolist()
    return Draw(
        sigma=shifted(u, config.shift),
        noise=torch.randn(shape, generator=source),
        whole=not p > config.eta,
        drop_image=image < config.drop.image,
        drop_speech=speech < config.drop.speech,
        drop_text=text < config.drop.text,
    )


def stretch_of(sigmas: torch.Tensor) -> torch.Tensor:
    """Which stretch of [0, 1] each sigma lies in, from 0: int64, of the same shape."""
    return (sigmas * STRETCHES).long().clamp(0, STRETCHES - 1)


def noised(latents: torch.Tensor, noise: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """x_σ for `[B, C, T, h, w]` and sigmas `[B]`."""
    sigmas = sigmas[:, None, None, None, None]
    return (1 - sigmas) * latents + sigmas * noise


def whole_losses(velocity: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """L of every sample: the mean squared error of `[B, C, T, h, w]`, `[B]`."""
    return _squared_error(velocity, latents, noise).flatten(1).mean(1)


def lip_losses(velocity: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor, lips: torch.Tensor) -> torch.Tensor:
    """M ⊙ L of every sample (Eq. 2–3), as the mean over what the mask shows: `[B]`, 0 where it shows nothing.

    The equation names no norm. Over the whole picture, a mouth of 2 % of it would have 2 % of the gradient of the
    samples whose loss is whole, and these would decide every step; so the sum is divided by the mask's, not the picture's.

    Args:
        lips: M, `[B, T, h, w]` in [0, 1].
    """
    error, mask = _squared_error(velocity, latents, noise), lips.float()[:, None]
    shown = mask.flatten(1).sum(1) * error.shape[1]
    return (mask * error).flatten(1).sum(1) / torch.where(shown > 0, shown, 1)


def chosen_losses(whole: torch.Tensor, lip: torch.Tensor, lips: torch.Tensor, is_whole: torch.Tensor) -> torch.Tensor:
    """Eq. 3 for every sample: the loss of the lips, or of the whole picture where p ≤ η, or where no lips are known."""
    return torch.where(is_whole | (lips.flatten(1).amax(1) <= 0), whole, lip)


def _squared_error(velocity: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    return (velocity.float() - (noise.float() - latents.float())) ** 2
