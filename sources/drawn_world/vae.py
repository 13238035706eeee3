"""The Wan VAE of small width, trained on the world as an autoencoder (its architecture: the host's own class)."""

import logging
from functools import partial
from pathlib import Path

import comfy.latent_formats
import comfy.sd
import comfy.utils
import numpy as np
import torch
from comfy.ldm.wan.vae import AttentionBlock, ResidualBlock, WanVAE
from safetensors.torch import save_file
from torch import nn

from fantasytalking_core.files import complete

from . import SEED
from .loop import Plan, device, fit

WIDTH = 16
"""Of the first level; the published VAE has 96."""
CROP = 48
"""Pixels: a step sees pieces of pictures. It is a convolution, so what it learns holds for pictures of any size."""
CENTRAL = 0.6
"""The share of pieces whose middle lies in the middle third of the picture, where eyes and mouths are."""
PHASES = ((1, 16), (5, 5), (9, 3))
"""Frames and pieces of a batch, one phase after the other. Single pictures, of which a batch holds more, teach all but time."""
NOISE = 0.1
"""Standard deviation of the noise on the latents in training: a fixed posterior variance, so that a small error of the
diffusion model is a small error of the picture."""
PRIOR = 1e-4
"""Weight of the mean squared latent, all that is left of the KL divergence where the variance is fixed."""
PLAN = Plan(steps=2600, rate=3e-3, muon=0.03, warmup=50, average=0.995, weight_decay=0.0, checkpoint_every=50)
STARTS = (0.0, 0.4, 0.7)
"""Where the phases begin, as parts of all steps."""
REFINE = Plan(steps=1200, rate=1e-3, muon=0.015, warmup=50, average=0.99, weight_decay=0.0, checkpoint_every=25)
"""Goes on from the averaged weights, with SQUARED in the loss and LONG pieces: what the causal convolutions remember reaches
far back, and after 9 frames it is not yet what it is after 33 (measured: 28 dB there, 20 dB here, without this)."""
LONG = (33, 4)
FINISH = Plan(steps=700, rate=1e-3, muon=0.008, warmup=30, average=0.99, weight_decay=0.0, checkpoint_every=25)
"""The decoder alone, on WHOLE pictures, whose borders are those that it will see. The latents stay what they are.

Measured: after 50 steps 28.2 dB, and the colours of a video run away within its 33 frames; after 700 they stay, 30.7 dB."""
WHOLE = (33, 1)
SQUARED = 6.0
"""Weight of the squared error, by which PSNR is measured, beside the absolute one, which learns edges faster."""


def new_vae(width: int = WIDTH) -> WanVAE:
    """With initial weights: the host's class leaves them without any."""
    vae = WanVAE(
        dim=width,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
        dropout=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        for name, value in vae.named_parameters():
            if value.ndim > 1 and not name.endswith("gamma"):
                nn.init.kaiming_normal_(value, nonlinearity="linear")
            else:
                nn.init.constant_(value, float(name.endswith("gamma")))
        for module in vae.modules():
            if isinstance(module, AttentionBlock):
                nn.init.zeros_(module.proj.weight)
            if isinstance(module, ResidualBlock):
                nn.init.zeros_(module.residual[-1].weight)
    return vae


def pieces(frames: np.ndarray, seed: tuple[int, ...], count: int, batch: int, crop: int = CROP) -> torch.Tensor:
    """A batch from uint8 `[N, F, H, W, 3]`: `[batch, 3, count, crop, crop]` in [-1, 1], half of it mirrored."""
    random = np.random.default_rng((SEED, *seed))
    number, length, height, width, _ = frames.shape
    found = []
    for _ in range(batch):
        n, f = random.integers(number), random.integers(length - count + 1)
        central = random.random() < CENTRAL
        y, x = (_start(random, side, crop, central) for side in (height, width))
        piece = frames[n, f : f + count, y : y + crop, x : x + crop]
        found.append(piece[:, :, ::-1] if random.random() < 0.5 else piece)
    return torch.from_numpy(np.stack(found)).movedim(-1, 1).float() / 127.5 - 1


def _start(random: np.random.Generator, side: int, crop: int, central: bool) -> int:
    """Of a piece, along one side."""
    room = side - crop
    low, high = (max(side / 3 - crop / 2, 0), min(side * 2 / 3 - crop / 2, room)) if central else (0, room)
    return int(random.integers(round(low), round(high) + 1))


def with_noise(clips: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips `[B, 3, F, H, W]` and standard normal noise of the shape of their latents."""
    batch, _, frames, height, width = clips.shape
    noise = torch.randn(
        batch, 16, (frames - 1) // 4 + 1, height // 8, width // 8, generator=torch.Generator().manual_seed(seed)
    )
    return clips, noise


def loss(vae: WanVAE, clips: torch.Tensor, noise: torch.Tensor, squared: float = 0.0) -> torch.Tensor:
    latents = vae.encode(clips)
    error = vae.decode(latents + NOISE * noise) - clips
    return (error**2 + 1e-4).sqrt().mean() + squared * (error**2).mean() + PRIOR * (latents**2).mean()


def train(
    frames: np.ndarray, path: Path, checkpoint: Path, plan: Plan = PLAN, refine: Plan = REFINE, finish: Plan = FINISH
) -> None:
    """Train on videos uint8 `[N, F, H, W, 3]` and write the file as the host's VAE loader reads it."""
    vae = new_vae().to(device())

    def learnt(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        phase = PHASES[sum(step >= start * plan.steps for start in STARTS) - 1]
        return with_noise(pieces(frames, (step,), *phase), step)

    def refined(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return with_noise(pieces(frames, (step, 1), *LONG), plan.steps + step)

    def finished(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return with_noise(pieces(frames, (step, 2), *WHOLE, crop=frames.shape[2]), plan.steps + refine.steps + step)

    vae.load_state_dict(fit(vae, learnt, partial(loss, vae), plan, checkpoint))
    squared = partial(loss, vae, squared=SQUARED)
    vae.load_state_dict(fit(vae, refined, squared, refine, checkpoint.with_name(f"{checkpoint.stem}_refined.pt")))
    for part in (vae.encoder, vae.conv1):
        part.requires_grad_(False)
    vae.load_state_dict(fit(vae, finished, squared, finish, checkpoint.with_name(f"{checkpoint.stem}_finished.pt")))
    standardise(vae, frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete(path) as unfinished:
        save_file({name: value.half().cpu() for name, value in vae.state_dict().items()}, unfinished)


@torch.no_grad()
def standardise(vae: WanVAE, frames: np.ndarray, clips: int = 64) -> None:
    """Give every latent channel the mean and the deviation that the host takes for Wan2.1's, in the weights themselves."""
    some = torch.from_numpy(frames[:: max(len(frames) // clips, 1), :33]).movedim(-1, 1).float() / 127.5 - 1
    latents = torch.cat([vae.encode(clip[None].to(device())).cpu() for clip in some])
    mean, deviation = (getattr(latents, kind)((0, 2, 3, 4)) for kind in ("mean", "std"))
    space = comfy.latent_formats.Wan21()
    scale = space.latents_std.flatten() / deviation
    shift = space.latents_mean.flatten() - scale * mean
    first, second = vae.conv1.cpu(), vae.conv2.cpu()
    first.weight[:16] *= scale[:, None, None, None, None]
    first.bias[:16] = scale * first.bias[:16] + shift
    second.bias -= torch.einsum("oixyz, i -> o", second.weight, shift / scale)
    second.weight /= scale[None, :, None, None, None]


@torch.no_grad()
def psnr(path: Path, frames: np.ndarray) -> float:
    """Of videos uint8 `[N, F, H, W, 3]` through the file and the host's own VAE, in dB: mean over the videos."""
    weights, metadata = comfy.utils.load_torch_file(str(path), return_metadata=True)
    vae, found = comfy.sd.VAE(sd=weights, metadata=metadata), []
    for clip in frames:
        pixels = torch.from_numpy(clip).float() / 255
        error = vae.decode(vae.encode(pixels))[0].cpu() - pixels
        found.append(-10 * torch.log10((error**2).mean()).item())
    logging.info("vae: %.2f dB on %d videos, from %.2f to %.2f", np.mean(found), len(found), min(found), max(found))
    return float(np.mean(found))
