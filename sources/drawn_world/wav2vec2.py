"""A small Wav2Vec2 of the published architecture, whose tokens tell how loud and of what spectrum the speech is.

It is trained to tell each token's mel bands and loudness; the head that does so is thrown away.
"""

import logging
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import librosa
import numpy as np
import torch
from einops import rearrange
from torch import nn

from fantasytalking_core.speech.wav2vec import encode, load_wav2vec2
from fantasytalking_core.speech.waveform import SAMPLE_RATE

from . import SEED
from .loop import Plan, fit

if TYPE_CHECKING:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

HOP, FIELD = 320, 400
"""Samples from one token to the next, and those that the convolutions see of one: 20 and 25 ms."""
LOUDNESSES, BANDS = 2, 24
RANGE = 60.0
"""Decibels below the loudest token; what is quieter counts as silence."""
QUIETEST_PEAK = -50.0
"""Decibels below full scale; a crop whose loudest token is quieter is silence from start to end."""
SECONDS = (1.4, 4.3)
"""Of the crops: from a training clip to a whole video."""
BATCH = 16
MUTED = 1 / 16
"""The share of crops that hold no speech."""
LOUDNESS_POWER = 0.3
"""Of the energy: how loud it seems to people (Stevens 1957)."""
PLAN = Plan(steps=250, rate=1e-3, average=0.99, checkpoint_every=100)


def config() -> "Wav2Vec2Config":
    """wav2vec2-base-960h with fewer and narrower layers, and without its randomness in training."""
    from transformers import Wav2Vec2Config  # seconds

    return Wav2Vec2Config(
        conv_dim=(48,) * 7,
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=384,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
        mask_time_prob=0.0,
        vocab_size=32,
    )


def targets(sounds: torch.Tensor) -> torch.Tensor:
    """What the tokens are to tell, each from 0 (silence) to 1 (the loudest of the sound).

    Args:
        sounds: `[B, samples]` at 16 kHz, before noise and normalisation.

    Returns:
        `[B, tokens, 2 + 24]`: the loudness in decibels and as it is perceived, the mel bands in decibels.
    """
    window = torch.hann_window(FIELD)
    spectrum = torch.stft(sounds, FIELD, HOP, window=window, center=False, return_complex=True).abs().square()
    spectrum = rearrange(spectrum, "b f t -> b t f") / window.square().sum() / FIELD
    mel = torch.from_numpy(librosa.filters.mel(sr=SAMPLE_RATE, n_fft=FIELD, n_mels=BANDS, norm=None))
    energy, bands = (_below_peak(2 * power) for power in (spectrum.sum(-1, keepdim=True), spectrum @ mel.T))
    perceived = 10 ** (LOUDNESS_POWER / 10 * energy)
    return torch.cat([energy / RANGE + 1, perceived, bands / RANGE + 1], dim=-1)


def _below_peak(power: torch.Tensor) -> torch.Tensor:
    """Decibels from the loudest of each sound, at most 60 below it."""
    decibels = 10 * torch.log10(power + 1e-12)
    return (decibels - decibels.amax((1, 2), keepdim=True).clamp_min(QUIETEST_PEAK)).clamp_min(-RANGE)


def crops(sounds: np.ndarray, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch of a step: the speech, of one random length, and the same with gain and noise, normalised."""
    rng = np.random.default_rng((SEED, step))
    length = min(int(rng.uniform(*SECONDS) * SAMPLE_RATE), sounds.shape[1])
    rows, starts = rng.integers(len(sounds), size=BATCH), rng.integers(sounds.shape[1] - length + 1, size=BATCH)
    speech = np.stack([sounds[row, start : start + length] for row, start in zip(rows, starts, strict=True)])
    speech[rng.random(BATCH) < MUTED] = 0
    gain, noise = 10 ** rng.uniform(-1, 0, (BATCH, 1)), 10 ** rng.uniform(-5, -2.5, (BATCH, 1))
    heard = speech * gain + rng.standard_normal(speech.shape, np.float32) * noise
    heard = (heard - heard.mean(1, keepdims=True)) / np.sqrt(heard.var(1, keepdims=True) + 1e-7)
    return torch.from_numpy(speech), torch.from_numpy(heard.astype(np.float32))


def train(sounds: np.ndarray, folder: Path, checkpoint: Path) -> None:
    """Train the encoder and write its folder, as `transformers` and the pack read it.

    Args:
        sounds: `[N, samples]` float32 speech at 16 kHz.
        folder: what is written, whole or not at all; replaced where it exists.
        checkpoint: from which an interrupted training goes on.
    """
    from transformers import Wav2Vec2Model

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(SEED)
        encoder = Wav2Vec2Model(config())
        network = nn.ModuleDict({"encoder": encoder, "head": nn.Linear(encoder.config.hidden_size, LOUDNESSES + BANDS)})
    network.train()

    def loss(speech: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
        found = network["head"](network["encoder"](heard).last_hidden_state)
        error = (found - targets(speech)).square()
        return error[..., :LOUDNESSES].mean() + error[..., LOUDNESSES:].mean()

    network.load_state_dict(fit(network, partial(crops, sounds), loss, PLAN, checkpoint))
    _save(encoder, folder)


def _save(encoder: "Wav2Vec2Model", folder: Path) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    encoder.eval().save_pretrained(unfinished)
    Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE, do_normalize=True).save_pretrained(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def loudness_r2(folder: Path, known: np.ndarray, unknown: np.ndarray) -> float:
    """How much of the variance of the loudness a linear map of the tokens explains, on sound that it was not fitted to.

    Args:
        folder: of the trained encoder, read by the pack's own loader.
        known, unknown: `[N, samples]` float32 speech at 16 kHz: to fit the map, and to measure it.
    """
    (inputs, wanted), (new_inputs, new_wanted) = (_tokens(folder, sounds) for sounds in (known, unknown))
    weights = torch.linalg.lstsq(inputs, wanted, driver="gelsd").solution
    error = (new_inputs @ weights - new_wanted).square().sum() / (new_wanted - new_wanted.mean()).square().sum()
    logging.info("%s: loudness R2 %.3f", folder.name, 1 - error)
    return float(1 - error)


def _tokens(folder: Path, sounds: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """All tokens with a column of ones `[rows, width + 1]`, and their loudness `[rows]`."""
    model, extractor = load_wav2vec2(folder)
    speech = torch.from_numpy(np.ascontiguousarray(sounds))
    tokens = torch.cat([encode(sound, model, extractor) for sound in speech])
    return nn.functional.pad(tokens, (0, 1), value=1.0).double(), targets(speech)[..., 0].flatten().double()
