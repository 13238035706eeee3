"""Adapter files that are refused: unsafe, damaged, of something else, or incomplete; each with a reason."""

import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import psutil
import pytest
import torch

from support.adapters import (
    COMMUNITY,
    LAYOUTS,
    PUBLISHED,
    SPLIT,
    refusal,
    refusal_of,
    weights_of,
)
from support.trap import Trap

# ---------------------------------------------------------------------------------------------------- unsafe files


def as_zip(value, path: Path) -> None:
    torch.save(value, path)


def as_old(value, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def as_raw(value, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, 2))


def as_newest(value, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, 4))


def as_forged_zip(value, path: Path) -> None:
    """With a data.pkl that `torch.save` would not write."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(value, 2))
        file.writestr("archive/version", "3")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("written", [as_zip, as_old, as_raw, as_newest, as_forged_zip])
@pytest.mark.parametrize("name", ["evil.ckpt", "evil.safetensors"])
def test_a_file_that_runs_code_is_refused_and_does_not_run(tmp_path, written, name):
    trap = tmp_path / "sprung"
    nested = torch.load(LAYOUTS / "official_nested.ckpt", weights_only=True)
    written({**nested, "trap": Trap(trap)}, tmp_path / name)
    message = refusal(tmp_path / name)
    assert message == (
        f"'{name}' was refused: it holds more than weights and may run code when it is opened. Expected {PUBLISHED}."
    )
    assert not trap.exists()


def test_a_pickle_of_the_first_protocol_is_not_even_opened(tmp_path):
    """It has no mark of its own; PyTorch never wrote it."""
    trap = tmp_path / "sprung"
    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps({"trap": Trap(trap)}, 0))
    assert "is no adapter file" in refusal(tmp_path / "evil.ckpt")
    assert not trap.exists()


def test_the_trap_of_these_tests_would_spring(tmp_path):
    trap = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Trap(trap)))
    assert trap.exists()


@pytest.mark.parametrize("value", [torch.nn.Linear(2, 2), {"trained_on": Path("clips")}], ids=["module", "objects"])
def test_a_harmless_file_with_more_than_weights_is_refused_too(tmp_path, value):
    torch.save(value, tmp_path / "trained.ckpt")
    assert "'trained.ckpt' was refused: it holds more than weights" in refusal(tmp_path / "trained.ckpt")


# ------------------------------------------------------------------------------------------------- damaged files

DAMAGED = {
    "empty": b"",
    "one_byte": b"\x80",
    "text": b"hello, world",
    "a_web_page": b"<!doctype html><html><title>Sign in</title></html>",
    "an_unfetched_git_lfs_file": b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 3364\n",
    "a_png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a_jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100),
    "a_safetensors_header_of_absurd_length": b"\xff" * 7 + b"\x7f{",
    "a_safetensors_header_that_is_no_json": (8).to_bytes(8, "little") + b"{not so}",
}


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_is_none_is_said_to_be_none(tmp_path, content, suffix):
    path = tmp_path / f"adapter{suffix}"
    path.write_bytes(content)
    assert refusal(path) == (
        f"'{path.name}' is no adapter file, or was not downloaded completely: download it again from {PUBLISHED}."
    )


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
@pytest.mark.parametrize("name", ["official_nested.ckpt", "old.ckpt", COMMUNITY.name])
def test_a_download_that_was_cut_short_is_told(tmp_path, name, share):
    if name == "old.ckpt":
        as_old(torch.load(LAYOUTS / "official_nested.ckpt", weights_only=True), tmp_path / name)
    else:
        shutil.copyfile(LAYOUTS / name, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    assert f"'{name}' is no adapter file, or was not downloaded completely" in refusal(tmp_path / name)


def test_a_zip_of_something_else_is_said_to_be_none(tmp_path):
    with zipfile.ZipFile(tmp_path / "adapter.ckpt", "w") as file:
        file.writestr("readme.txt", "hello")
    assert "is no adapter file" in refusal(tmp_path / "adapter.ckpt")


def test_a_checkpoint_that_contains_itself_is_refused(tmp_path):
    endless: dict = {}
    endless["proj_model"] = endless
    torch.save(endless, tmp_path / "endless.ckpt")
    assert "is no adapter file" in refusal(tmp_path / "endless.ckpt")


def test_a_folder_is_no_file(tmp_path):
    assert f"'{tmp_path}' can't be read (" in refusal(tmp_path)


# ------------------------------------------------------------------------------------- files of something else

DIT = {"blocks.0.self_attn.q.weight": torch.zeros(4, 4), "blocks.0.cross_attn.k.weight": torch.zeros(4, 4)}
LORA = {"diffusion_model.blocks.0.cross_attn.k.lora_A.weight": torch.zeros(4, 4)}
OTHERS = {"a_lora": LORA, "nothing": {}}


@pytest.mark.parametrize("weights", OTHERS.values(), ids=OTHERS)
def test_weights_of_another_model_are_no_adapter(tmp_path, weights):
    held = ", ".join(sorted(weights)) or "nothing"
    assert refusal_of(tmp_path, weights) == (
        f"'adapter.safetensors' is no FantasyTalking adapter (it holds {held} …): expected {PUBLISHED} or a conversion of it."
    )


def test_a_diffusion_model_is_told_where_it_belongs(tmp_path):
    found = "it looks like a diffusion model, which belongs into a diffusion model loader"
    assert f"is no FantasyTalking adapter ({found}): expected" in refusal_of(tmp_path, DIT)


@pytest.mark.parametrize("value", [DIT, [1, 2], torch.zeros(3)], ids=["a_dit", "a_list", "a_tensor"])
def test_a_checkpoint_of_something_else_is_no_adapter(tmp_path, value):
    torch.save(value, tmp_path / "other.ckpt")
    assert "'other.ckpt' is no FantasyTalking adapter (it " in refusal(tmp_path / "other.ckpt")


def test_a_big_dit_is_refused_without_reading_its_tensors(tmp_path):
    """8 GB that take no room on the disk; reading them would take them in memory."""
    size = 8 * 2**30
    header = json.dumps({"blocks.0.ffn.0.weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path = tmp_path / "wan2.1_i2v_14B.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + size)
    before = psutil.Process().memory_info().rss
    assert "is no FantasyTalking adapter (it holds blocks.0.ffn.0.weight …)" in refusal(path)
    assert psutil.Process().memory_info().rss - before < 50e6


# ------------------------------------------------------------------------------------- keys and shapes that are off


@pytest.mark.parametrize(
    "key", ["proj_model.norm.bias", "blocks.0.cross_attn.v_proj.weight", "blocks.1.cross_attn.k_proj.weight"]
)
def test_a_missing_key_is_named(tmp_path, key):
    weights = weights_of()
    del weights[key]
    ours = key.replace("proj_model", "audio.projector").replace("cross_attn.", "").replace("blocks", "audio.blocks")
    assert f"'adapter.safetensors' lacks {ours}." in refusal_of(tmp_path, weights)


def test_a_missing_block_in_the_middle_is_named(tmp_path):
    weights = weights_of()
    for kind in "kv":
        weights[f"blocks.3.cross_attn.{kind}_proj.weight"] = weights.pop(f"blocks.1.cross_attn.{kind}_proj.weight")
    expected = "audio.blocks.1.k_proj.weight, audio.blocks.1.v_proj.weight, audio.blocks.2.k_proj.weight and 1 more"
    assert f"'adapter.safetensors' lacks {expected}." in refusal_of(tmp_path, weights)


@pytest.mark.parametrize(
    "key", ["blocks.0.cross_attn.q_proj.weight", "proj_model.extra", "blocks.123456789.cross_attn.k_proj.weight"]
)
def test_an_unknown_key_is_named(tmp_path, key):
    message = refusal_of(tmp_path, {**weights_of(), key: torch.zeros(2)})
    assert f"holds {key}, which no FantasyTalking layout has: expected a projector and one k_proj and v_proj" in message


def test_of_many_unknown_keys_three_are_named(tmp_path):
    message = refusal_of(tmp_path, {**weights_of(), **{f"other.{n}": torch.zeros(1) for n in range(9)}})
    assert "holds other.0, other.1, other.2 and 6 more, which" in message


def test_what_is_no_tensor_is_named(tmp_path):
    nested = torch.load(LAYOUTS / "official_nested.ckpt", weights_only=True)
    torch.save({**nested, "step": 100}, tmp_path / "a.ckpt")
    assert "'a.ckpt' holds step, which no FantasyTalking layout has" in refusal(tmp_path / "a.ckpt")


def test_a_key_that_two_files_hold_is_named():
    assert f"'{COMMUNITY.name}' holds proj_model.norm.bias a second time" in refusal(SPLIT[0], COMMUNITY)


def test_a_key_that_is_there_in_two_layouts_is_named(tmp_path):
    message = refusal_of(tmp_path, {**weights_of(), "norm.bias": torch.zeros(8, dtype=torch.float16)})
    assert "holds " in message and "norm.bias a second time: give one file, or a projector and its blocks" in message


def test_integer_weights_are_named_with_their_type(tmp_path):
    key = "blocks.0.cross_attn.k_proj.weight"
    message = refusal_of(tmp_path, {**weights_of(), key: torch.zeros(256, 8, dtype=torch.int8)})
    assert f"holds {key} as torch.int8, expected floating-point weights" in message


@pytest.mark.parametrize(
    "key, shape, expected",
    [
        ("blocks.1.cross_attn.k_proj.weight", (128, 8), "blocks.1.k_proj.weight has shape [128, 8], expected [256, 8]"),
        ("blocks.0.cross_attn.v_proj.weight", (256, 9), "blocks.0.v_proj.weight has shape [256, 9], expected [256, 8]"),
        ("proj_model.norm.bias", (7,), "projector.norm.bias has shape [7], expected [8]"),
        ("proj_model.proj.weight", (8,), "projector.proj.weight has shape [8], expected a matrix"),
        ("blocks.0.cross_attn.k_proj.weight", (), "blocks.0.k_proj.weight has shape [], expected a matrix"),
    ],
)
def test_shapes_that_do_not_agree_are_named(tmp_path, key, shape, expected):
    message = refusal_of(tmp_path, {**weights_of(), key: torch.zeros(shape, dtype=torch.float16)})
    assert f"'adapter.safetensors' does not agree with itself: audio.{expected}. Download or convert" in message
