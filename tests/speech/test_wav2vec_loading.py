"""The speech encoder under the host's memory manager, and from safe and complete folders only."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.speech.wav2vec import encode, load_wav2vec2
from support.encoder import CASES, clip_of, copy, edit_json, long_speech
from support.reference import FOLDER
from support.trap import Trap


@pytest.fixture(scope="module")
def encoder():
    return load_wav2vec2(FOLDER / "wav2vec2")


# ----------------------------------------------------------------------------------------- the host's memory manager


@pytest.fixture
def hosted(host):
    """The encoder as the loader node gives it."""
    return host.core("host.loading").load_wav2vec(FOLDER / "wav2vec2")


def test_an_interrupted_encoding_stops_and_the_next_one_is_unaffected(hosted, encoder):
    import comfy.model_management as management

    speech = long_speech(70)
    calls = []

    def interrupt(module, args):
        calls.append(module)
        if len(calls) == 2:  # as the page's button does, while the second of four pieces is encoded
            management.interrupt_current_processing()

    hook = hosted.model.register_forward_pre_hook(interrupt)
    with pytest.raises(management.InterruptProcessingException):
        hosted.encode(speech)
    hook.remove()
    assert len(calls) == 2
    assert not management.processing_interrupted()
    clip = clip_of(CASES[1])
    assert torch.equal(hosted.encode(clip), encode(clip, *encoder))


def test_the_host_loads_the_encoder_and_unloads_it(hosted):
    import comfy.model_management as management

    def is_loaded() -> bool:
        return any(loaded.model is hosted.patcher for loaded in management.current_loaded_models)

    management.unload_all_models()
    assert not is_loaded()
    first = hosted.encode(clip_of(CASES[0]))
    assert is_loaded()
    management.unload_all_models()
    assert not is_loaded()
    assert {weight.device for weight in hosted.model.parameters()} == {hosted.patcher.offload_device}
    assert torch.equal(hosted.encode(clip_of(CASES[0])), first)


def test_the_host_knows_how_much_memory_the_encoder_takes(hosted):
    weights = sum(weight.numel() * 4 for weight in hosted.model.parameters())
    assert hosted.patcher.model_size() >= weights


def test_tokens_stay_on_the_cpu_in_float32(hosted):
    tokens = hosted.encode(clip_of(CASES[0]))
    assert (tokens.device.type, tokens.dtype) == ("cpu", torch.float32)


# -------------------------------------------------------------------------------------------------------- folders


def refusal(folder: Path) -> str:
    with pytest.raises(FantasyTalkingError) as error:
        load_wav2vec2(folder)
    assert "facebook/wav2vec2-base-960h" in str(error.value)
    return str(error.value)


def test_weights_stored_in_16_bit_are_computed_in_32(tmp_path):
    folder = copy(tmp_path)
    stored = load_file(folder / "model.safetensors")
    save_file({key: value.half() for key, value in stored.items()}, folder / "model.safetensors", {"format": "pt"})
    edit_json(folder / "config.json", dtype="float16", torch_dtype="float16")
    assert {weight.dtype for weight in load_wav2vec2(folder)[0].parameters()} == {torch.float32}


def test_a_model_for_speech_recognition_holds_the_encoder(tmp_path, encoder):
    """facebook/wav2vec2-base-960h itself is one: `wav2vec2.` before every name, and a head."""
    folder = copy(tmp_path)
    stored = load_file(folder / "model.safetensors")
    names = {f"wav2vec2.{key}": value for key, value in stored.items()} | {"lm_head.weight": torch.zeros(32, 768)}
    save_file(names, folder / "model.safetensors", {"format": "pt"})
    edit_json(folder / "config.json", architectures=["Wav2Vec2ForCTC"])
    assert torch.equal(encode(clip_of(CASES[0]), *load_wav2vec2(folder)), encode(clip_of(CASES[0]), *encoder))


def test_an_empty_folder_is_refused(tmp_path):
    assert "holds no Wav2Vec2 model (a config.json with model_type wav2vec2)" in refusal(tmp_path)


def test_a_folder_without_preprocessor_settings_is_refused(tmp_path):
    folder = copy(tmp_path)
    (folder / "preprocessor_config.json").unlink()
    assert "has no preprocessor_config.json, without which quiet speech is encoded wrongly: add it" in refusal(folder)


def test_a_folder_of_another_kind_of_model_is_refused(tmp_path):
    folder = copy(tmp_path)
    edit_json(folder / "config.json", model_type="hubert")
    assert "holds no Wav2Vec2 model" in refusal(folder)


def test_an_encoder_for_another_sample_rate_is_refused(tmp_path):
    folder = copy(tmp_path)
    edit_json(folder / "preprocessor_config.json", sampling_rate=8000)
    with pytest.raises(FantasyTalkingError, match="hears 8000 Hz, expected 16000 Hz: use wav2vec2-base-960h"):
        load_wav2vec2(folder)


def test_a_folder_without_weights_is_refused(tmp_path):
    folder = copy(tmp_path)
    (folder / "model.safetensors").unlink()
    assert "can't be read (Error no file named" in refusal(folder)


def test_missing_weights_are_named(tmp_path):
    """`transformers` would go on with random ones."""
    folder = copy(tmp_path)
    stored = load_file(folder / "model.safetensors")
    del stored["encoder.layer_norm.bias"]
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    assert "lacks weights (1, encoder.layer_norm.bias first): download its files again" in refusal(folder)


def test_weights_of_another_width_are_refused(tmp_path):
    folder = copy(tmp_path)
    edit_json(folder / "config.json", intermediate_size=128)
    assert "can't be read" in refusal(folder)


@pytest.mark.parametrize("left", [0, 100, 100_000])
def test_weights_that_were_not_downloaded_completely_are_refused(tmp_path, left):
    folder = copy(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:left])
    assert "can't be read" in refusal(folder) and "download its files again" in refusal(folder)


@pytest.mark.parametrize("settings", ["config.json", "preprocessor_config.json"])
def test_broken_settings_are_refused(tmp_path, settings):
    folder = copy(tmp_path)
    (folder / settings).write_text('{"model_type": "wav2')
    assert "encoder" in refusal(folder)


def save_raw(value, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, 2))


@pytest.mark.parametrize("written", [torch.save, save_raw])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, written):
    folder = copy(tmp_path)
    (folder / "model.safetensors").unlink()
    trap = tmp_path / "sprung"
    written({"encoder.layer_norm.bias": Trap(trap)}, folder / "pytorch_model.bin")
    message = refusal(folder)
    assert "was refused: its pytorch_model.bin holds more than weights and may run code" in message
    assert not trap.exists()


def test_the_trap_of_these_tests_would_spring(tmp_path):
    trap = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Trap(trap)))
    assert trap.exists()


def test_code_that_lies_beside_the_weights_is_not_run(tmp_path):
    folder, trap = copy(tmp_path), tmp_path / "sprung"
    edit_json(folder / "config.json", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"})
    (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(trap)!r}).touch()\n")
    load_wav2vec2(folder)
    assert not trap.exists()
