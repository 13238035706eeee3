"""What a Wav2Vec2 folder says of its model, checked before anything is allocated or opened by `transformers`.

Of `config.json` only what shapes the encoder is taken over, and of `preprocessor_config.json` what is used of it: classes,
code and quantisation that a folder names, and what only its training needs, are left out.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FantasyTalkingError, first_line, short
from ..reading import check_regular, read_json
from .waveform import SAMPLE_RATE

PUBLISHED = "https://huggingface.co/facebook/wav2vec2-base-960h"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
HOP = 320
"""Samples from one token to the next, of every size of Wav2Vec2: 50 tokens a second."""
SIZES: Mapping[str, int] = {
    "hidden_size": 2**14,
    "num_hidden_layers": 200,
    "num_attention_heads": 2**8,
    "intermediate_size": 2**16,
    "num_conv_pos_embeddings": 2**12,
    "num_conv_pos_embedding_groups": 2**10,
}
"""Whole numbers from 1 on, and the largest that is taken for one: several times those of the largest Wav2Vec2."""
LAYERS: Mapping[str, int] = {"conv_dim": 2**13, "conv_kernel": 2**10, "conv_stride": 2**10}
"""Lists of such, a number for each convolution."""
MOST_CONVOLUTIONS = 32
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "feat_extract_norm": ("group", "layer"),
    "do_stable_layer_norm": (True, False),
    "conv_bias": (True, False),
    "add_adapter": (False,),
}
DIVISORS = ("num_attention_heads", "num_conv_pos_embedding_groups")
"""Of hidden_size."""
ACTIVATIONS = ("hidden_act", "feat_extract_activation")
OPENED = (".safetensors", ".bin", ".json")
"""Endings of what `transformers` may open."""
HARMLESS = 2**26
"""Weights for which there is memory, whatever the files hold: `transformers` then says best what is wrong with them."""
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def is_wav2vec2_folder(folder: Path) -> bool:
    """Whether `folder` holds the configuration of a Wav2Vec2 model of `transformers`; never raises."""
    try:
        return read_json(folder / CONFIG).get("model_type") == "wav2vec2"
    except Exception:  # a list is made of this while nodes are registered, where an error takes the pack away
        return False


def read_config(folder: Path) -> dict[str, Any]:
    """What `transformers.Wav2Vec2Config` takes, of the encoder in this folder.

    Raises:
        FantasyTalkingError: sizes that no model has.
    """
    from transformers import Wav2Vec2Config  # seconds, and only now needed

    stored = read_json(folder / CONFIG)
    names = (*SIZES, *LAYERS, *CHOICES, *ACTIVATIONS, "layer_norm_eps")
    default = Wav2Vec2Config()
    config = {name: stored.get(name, getattr(default, name)) for name in names}
    wrong = [name for name in names if not _is_right(name, config[name])]
    if not wrong:
        wrong = [name for name in DIVISORS if config["hidden_size"] % config[name]]
    if not wrong and len({len(config[name]) for name in LAYERS}) > 1:
        wrong = list(LAYERS)
    if not wrong and math.prod(config["conv_stride"]) != HOP:
        wrong = ["conv_stride"]
    if wrong:
        found = ", ".join(f"{name} {short(config[name])}" for name in wrong)
        raise FantasyTalkingError(
            f"The config.json of '{short(folder.name)}' is damaged or of another kind of model ({found}): download it again "
            f"from {PUBLISHED}."
        )
    return config


def _is_right(name: str, value: Any) -> bool:
    if name in SIZES:
        return _is_count(value, SIZES[name])
    if name in LAYERS:
        is_list = isinstance(value, list | tuple) and 1 <= len(value) <= MOST_CONVOLUTIONS
        return is_list and all(_is_count(size, LAYERS[name]) for size in value)
    if name in CHOICES:
        return any(value is choice or isinstance(value, str) and value == choice for choice in CHOICES[name])
    if name in ACTIVATIONS:
        from transformers.activations import ACT2FN

        return isinstance(value, str) and value in ACT2FN
    return isinstance(value, int | float) and 0 < value < 1  # layer_norm_eps


def _is_count(value: Any, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= largest


def check_files(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse weights that are no files of this folder, and too few of them for the model that it describes.

    Raises:
        FantasyTalkingError
    """
    try:
        files = [file for file in folder.iterdir() if file.suffix in OPENED and os.path.exists(file) and not file.is_dir()]
        held = sum(map(check_regular, files))
        for index in (file for file in files if file.name in INDEXES):
            for part in _parts(index):
                if not part or Path(part).name != part:
                    raise ValueError(f"{index.name} names '{short(part)}', which is no file of this folder")
                check_regular(folder / part)
        asked = _fewest_weights(config)
        if asked > max(held, HARMLESS):  # no type has less than a byte for a number
            raise ValueError(f"config.json describes {asked:.1e} weights, the files hold {held:.1e} bytes")
    except (OSError, ValueError) as error:
        raise unreadable(folder, error) from error


def _parts(index: Path) -> set[str]:
    """The files that an index says the weights lie in. Raises OSError and ValueError."""
    stored = read_json(index)
    parts = stored.get("weight_map") if isinstance(stored, dict) else None
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise ValueError(f"{index.name} has no weight_map from weights to files")
    return set(parts.values())


def _fewest_weights(config: Mapping[str, Any]) -> int:
    """Of the encoder's matrices alone."""
    width, dims = config["hidden_size"], config["conv_dim"]
    layer = 4 * width**2 + 2 * width * config["intermediate_size"]
    positions = width**2 // config["num_conv_pos_embedding_groups"] * config["num_conv_pos_embeddings"]
    convolutions = sum(math.prod(sizes) for sizes in zip((1, *dims), dims, config["conv_kernel"], strict=False))
    return config["num_hidden_layers"] * layer + positions + convolutions + dims[-1] * width


def read_normalisation(folder: Path) -> bool:
    """Whether speech is normalised before it is encoded, as the folder's preprocessor settings say.

    Raises:
        FantasyTalkingError: no settings, broken ones, or such for another sample rate.
    """
    path = folder / PREPROCESSOR
    if not os.path.exists(path):
        raise FantasyTalkingError(
            f"'{short(folder.name)}' has no preprocessor_config.json, without which quiet speech is encoded wrongly: "
            f"add it from {PUBLISHED}."
        )
    try:
        settings = read_json(path)
        if not isinstance(settings, dict) or not {"sampling_rate", "do_normalize"} <= settings.keys():
            raise ValueError("its preprocessor_config.json lacks sampling_rate or do_normalize")
    except (OSError, ValueError) as error:
        raise unreadable(folder, error) from error
    rate, normalised = settings["sampling_rate"], settings["do_normalize"]
    if rate != SAMPLE_RATE:
        raise FantasyTalkingError(
            f"'{short(folder.name)}' hears {short(json.dumps(rate))} Hz, expected {SAMPLE_RATE} Hz: use wav2vec2-base-960h."
        )
    if not isinstance(normalised, bool):
        raise FantasyTalkingError(
            f"The preprocessor_config.json of '{short(folder.name)}' has do_normalize {short(normalised)}, expected true or "
            f"false: download it again from {PUBLISHED}."
        )
    return normalised


def unreadable(folder: Path, error: Exception) -> FantasyTalkingError:
    why = first_line(error)
    if isinstance(error, OSError) and isinstance(error.filename, str | Path):
        why = f"{short(Path(error.filename).name)}: {error.strerror}"
    return FantasyTalkingError(
        f"The Wav2Vec2 folder '{short(folder.name)}' can't be read ({why}): download its files again from {PUBLISHED}."
    )
