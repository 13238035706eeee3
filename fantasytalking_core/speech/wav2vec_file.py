"""wav2vec2-base-960h as one file of weights: its published model.safetensors under any name, with that model's settings."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import FantasyTalkingError, first_line, short
from ..reading import check_regular
from .wav2vec_folder import PUBLISHED
from .waveform import SAMPLE_RATE

if TYPE_CHECKING:
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

PREFIX = "wav2vec2."
"""Before every name of the encoder's weights in a model for speech recognition, as the published one is."""
LAYER = re.compile(r"encoder\.layers\.(\d+)\.")
MOST_LAYERS = 200


def load_wav2vec2_file(path: Path) -> tuple["Wav2Vec2Model", "Wav2Vec2FeatureExtractor"]:
    """The encoder, in float32, and its preprocessor, which normalises.

    Raises:
        FantasyTalkingError: no weights of a Wav2Vec2 base model, too few of them, or a broken file.
    """
    try:
        check_regular(path)
        weights = {key.removeprefix(PREFIX): value.float() for key, value in load_file(path).items()}
    except (OSError, ValueError, SafetensorError) as error:
        raise _unreadable(path, first_line(error)) from error
    layers = {int(match[1]) for key in weights if (match := LAYER.match(key)) and len(match[1]) < 4}
    if not layers or len(layers) > MOST_LAYERS:
        raise _unreadable(path, "it holds no layers of a Wav2Vec2 encoder")

    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model  # seconds, and only now needed

    model = Wav2Vec2Model(Wav2Vec2Config(num_hidden_layers=len(layers)))  # all else is base-960h's by default
    try:
        missing = [key for key in model.load_state_dict(weights, strict=False).missing_keys if key != "masked_spec_embed"]
    except RuntimeError as error:  # of another width
        raise _unreadable(path, "its weights have other sizes than wav2vec2-base-960h's") from error
    if missing:
        raise _unreadable(path, f"it lacks {len(missing)} weights, {missing[0]} first")
    if not all(torch.isfinite(weight).all() for weight in model.parameters()):
        raise _unreadable(path, "it holds NaN or infinite numbers")
    return model.eval(), Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE, do_normalize=True)


def _unreadable(path: Path, why: str) -> FantasyTalkingError:
    return FantasyTalkingError(
        f"The Wav2Vec2 file '{short(path.name)}' can't be used ({short(why)}): expected model.safetensors of {PUBLISHED}, "
        "under any name."
    )
