"""The speech encoder as one file: the same tokens as from its folder, and words for every other file."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.speech.wav2vec import encode, load_wav2vec2
from fantasytalking_core.speech.wav2vec_file import load_wav2vec2_file
from support.encoder import CASES, clip_of
from support.graphs import choices, put
from support.reference import FOLDER


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder as wav2vec2-base-960h is published, of that model with a single layer and random weights."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("published")
    Wav2Vec2Model(Wav2Vec2Config(num_hidden_layers=1)).save_pretrained(folder)
    shutil.copy(FOLDER / "wav2vec2" / "preprocessor_config.json", folder)
    return folder


@pytest.mark.parametrize("prefix", ["", "wav2vec2."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_it_gives_the_tokens_of_the_folder(tmp_path, folder, prefix, dtype):
    path = tmp_path / "wav2vec2-base-960h.safetensors"
    weights = {f"{prefix}{key}": value.to(dtype) for key, value in load_file(folder / "model.safetensors").items()}
    save_file({**weights, "lm_head.weight": torch.zeros(32, 768)}, path)
    model, extractor = load_wav2vec2_file(path)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    tokens, expected = encode(clip_of(CASES[0]), model, extractor), encode(clip_of(CASES[0]), *load_wav2vec2(folder))
    assert torch.equal(tokens, expected) if dtype == torch.float32 else (tokens - expected).std() < 0.05 * expected.std()


def changed(tmp_path, folder, change):
    weights, path = load_file(folder / "model.safetensors"), tmp_path / "base-960h.safetensors"
    change(weights)
    save_file(weights, path)
    return path


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda w: w.clear() or w.update(x=torch.zeros(1)), "it holds no layers of a Wav2Vec2 encoder"),
        (lambda w: w.pop("feature_projection.projection.bias"), "it lacks 1 weights, feature_projection.projection.bias first"),
        (
            lambda w: w.update({"feature_projection.projection.bias": torch.zeros(1024)}),
            "other sizes than wav2vec2-base-960h's",
        ),
        (lambda w: w["feature_projection.projection.bias"].fill_(torch.nan), "it holds NaN or infinite numbers"),
        (lambda w: w.update({f"encoder.layers.{n}.x": torch.zeros(1) for n in range(300)}), "it holds no layers"),
    ],
)
def test_what_is_no_such_model_is_refused(tmp_path, folder, change, expected):
    with pytest.raises(FantasyTalkingError, match=f"The Wav2Vec2 file 'base-960h.safetensors' can't be used .*{expected}"):
        load_wav2vec2_file(changed(tmp_path, folder, change))


@pytest.mark.parametrize("data", [b"", b"nothing", b"\xff" * 100])
def test_a_broken_file_is_refused(tmp_path, data):
    path = tmp_path / "base-960h.safetensors"
    path.write_bytes(data)
    with pytest.raises(FantasyTalkingError, match="can't be used .*expected model.safetensors of https"):
        load_wav2vec2_file(path)


@pytest.mark.parametrize("place", ["wav2vec2", "audio_encoders"])
def test_the_node_lists_it_where_people_put_it_and_loads_it(host, run, models, folder, place):
    name = "wav2vec2-base-960h.safetensors"
    put(folder / "model.safetensors", models / place / name)
    shutil.copyfile(folder / "config.json", models / place / "wav2vec2-chinese-base.safetensors")
    assert choices(host, "FantasyTalkingWav2VecLoader", "model_name") == ["reference", name]
    assert run("FantasyTalkingWav2VecLoader", model_name=name)[0].model.config.hidden_size == 768
