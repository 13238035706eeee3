"""Wav2Vec2 folders of strangers: nothing is allocated, opened or run that a folder should not ask for."""

import json
import math
import os
import time
from pathlib import Path

import psutil
import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.speech.wav2vec import encode, load_wav2vec2
from support.encoder import CASES, clip_of, copy, edit_json
from support.reference import FOLDER

PUBLISHED = "https://huggingface.co/facebook/wav2vec2-base-960h"


def refusal(folder: Path) -> str:
    with pytest.raises(FantasyTalkingError) as error:
        load_wav2vec2(folder)
    assert PUBLISHED in str(error.value) and len(str(error.value)) < 1000
    return str(error.value)


def tokens_of(folder: Path) -> torch.Tensor:
    return encode(clip_of(CASES[0]), *load_wav2vec2(folder))


# ----------------------------------------------------------------------------------------------------------------- sizes

WRONG = {
    "hidden_size": [0, -768, "768", 768.5, None, 10**30, True, [768]],
    "num_hidden_layers": [0, -1, 20_000, {}],
    "num_attention_heads": [0, -12, 7],
    "intermediate_size": [0, 10**9],
    "num_conv_pos_embeddings": [0, 10**9],
    "num_conv_pos_embedding_groups": [0, -1, 7],
    "conv_dim": [[], "x", [0] * 7, [10**9] * 7, [32] * 40, 32],
    "conv_kernel": [[10**9, 3, 3, 3, 3, 2, 2], [10, 3, 3, 3, 3, 2, "2"]],
    "conv_stride": [[0] * 7, [1] * 7, [-5, 2, 2, 2, 2, 2, 2], [10, 2, 2, 2, 2, 2, 2]],
    "feat_extract_norm": ["x", 1],
    "do_stable_layer_norm": ["yes", 1],
    "conv_bias": ["yes"],
    "add_adapter": [True],
    "hidden_act": [None, 3, "x"],
    "feat_extract_activation": ["x"],
    "layer_norm_eps": [math.nan, -1, 0, "x", 10**400],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_size_that_no_model_has_is_named(tmp_path, name, value):
    folder = copy(tmp_path)
    edit_json(folder / "config.json", **{name: value})
    message = refusal(folder)
    assert message.startswith(f"The config.json of 'encoder' is damaged or of another kind of model ({name} ")
    assert message.endswith(f"): download it again from {PUBLISHED}.")


def test_lists_of_different_lengths_are_named(tmp_path):
    folder = copy(tmp_path)
    edit_json(folder / "config.json", conv_kernel=[10, 3])
    assert "(conv_dim [32, 32, 32, 32, 32, 32, ...], conv_kernel [10, 3], conv_stride [5, 2, " in refusal(folder)


@pytest.mark.parametrize("sizes", [{"hidden_size": 12_000}, {"num_hidden_layers": 190, "intermediate_size": 60_000}])
def test_a_model_of_more_weights_than_its_files_hold_is_refused_before_there_is_memory_for_it(tmp_path, sizes):
    """12,000 wide: 4 · 12000² + 2 · 12000 · 64 for the layer and 12000² / 48 · 16 for the positions, 6.3e8 weights."""
    folder = copy(tmp_path)
    edit_json(folder / "config.json", **sizes)
    before, started = psutil.Process().memory_info().rss, time.monotonic()
    message = refusal(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    asked = "6.3e+08" if "hidden_size" in sizes else f"{190 * (4 * 768**2 + 2 * 768 * 60_000):.1e}"
    assert f"can't be read (config.json describes {asked} weights, the files hold {size:.1e} bytes): download its" in message
    assert psutil.Process().memory_info().rss - before < 100e6 and time.monotonic() - started < 20


OF_NO_USE = {
    "num_labels": 10**9,
    "vocab_size": 10**12,
    "codevector_dim": 10**9,
    "return_dict": False,
    "torchscript": True,
    "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "attn_implementation": "kernels-community/flash-attn",
    "hidden_dropout": 2.0,
    "mask_time_prob": "x",
    "layerdrop": -1,
    "pruned_heads": {"0": [0]},
    "architectures": 3,
    "dtype": "int8",
}


@pytest.mark.parametrize("name", OF_NO_USE)
def test_what_does_not_shape_the_encoder_is_left_out(tmp_path, name):
    folder = copy(tmp_path)
    edit_json(folder / "config.json", **{name: OF_NO_USE[name]})
    assert torch.equal(tokens_of(folder), tokens_of(FOLDER / "wav2vec2"))


# ----------------------------------------------------------------------------------------------------------- what is no file


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize("make", [os.mkfifo if hasattr(os, "mkfifo") else None, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize(
    "name",
    ["preprocessor_config.json", "model.safetensors", "pytorch_model.bin", "adapter_config.json", "generation_config.json"],
)
def test_a_pipe_or_device_is_not_opened(tmp_path, name, make):
    folder = copy(tmp_path)
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    assert f"can't be read ({name}: a folder, pipe or device, not a file)" in refusal(folder)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_a_link_to_nothing_that_is_not_needed_is_left_alone(tmp_path):
    """As a cache of Hugging Face has them when it was moved."""
    folder = copy(tmp_path)
    for name in ("tf_model.h5", "pytorch_model.bin", "tokenizer.json"):
        (folder / name).symlink_to("../../blobs/0000")
    assert torch.equal(tokens_of(folder), tokens_of(FOLDER / "wav2vec2"))


@pytest.mark.parametrize("where", ["../shard.bin", "/dev/zero", "", ".", "a/b.bin", 3])
def test_weights_that_an_index_has_outside_of_the_folder_are_not_opened(tmp_path, where):
    folder = copy(tmp_path)
    (folder / "model.safetensors").rename(tmp_path / "shard.bin")
    index = {"metadata": {}, "weight_map": {"encoder.layer_norm.bias": where}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert "The Wav2Vec2 folder 'encoder' can't be read (" in refusal(folder)


@pytest.mark.parametrize("content", ["[]", "null", "{", '{"weight_map": []}', "[" * 200_000])
def test_an_index_that_is_none_is_refused(tmp_path, content):
    folder = copy(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    assert "The Wav2Vec2 folder 'encoder' can't be read (" in refusal(folder)


# ------------------------------------------------------------------------------------------------------ preprocessor settings


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"sampling_rate": 16000}', "[" * 200_000, " " * 2**21, "NaN"])
def test_preprocessor_settings_that_say_nothing_are_refused(tmp_path, content):
    folder = copy(tmp_path)
    (folder / "preprocessor_config.json").write_text(content)
    assert "The Wav2Vec2 folder 'encoder' can't be read (" in refusal(folder)


@pytest.mark.parametrize("rate", [8000, "16000", None, math.nan, [16000], "x" * 10**5])
def test_a_rate_that_is_another_is_told(tmp_path, rate):
    folder = copy(tmp_path)
    edit_json(folder / "preprocessor_config.json", sampling_rate=rate)
    with pytest.raises(FantasyTalkingError, match="Hz, expected 16000 Hz: use wav2vec2-base-960h") as error:
        load_wav2vec2(folder)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("value", ["no", None, 3, []])
def test_a_normalisation_that_is_neither_on_nor_off_is_told(tmp_path, value):
    folder = copy(tmp_path)
    edit_json(folder / "preprocessor_config.json", do_normalize=value)
    assert "has do_normalize" in refusal(folder) and "expected true or false: download it again" in refusal(folder)


def test_normalisation_is_as_the_folder_says(tmp_path):
    """Off, speech that is twice as loud makes other tokens; on, the same."""
    folder, clip = copy(tmp_path), clip_of(CASES[0])
    for normalised in (True, False):
        edit_json(folder / "preprocessor_config.json", do_normalize=normalised)
        loaded = load_wav2vec2(folder)
        assert torch.allclose(encode(clip / 2, *loaded), encode(clip, *loaded), atol=1e-3) is normalised
