"""Adapter files of strangers: no message is flooded, nothing hangs, and no more memory is taken than a file has bytes."""

import json
import math
import os
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.adapter.file import read_adapter
from fantasytalking_core.commands import convert
from support import identity, motion
from support.adapters import LAYOUTS, PUBLISHED, in_our_names, refusal, refusal_of, weights_of

LONGEST = 1000
"""Characters of a message that fits on the page."""


def nested() -> dict:
    return torch.load(LAYOUTS / "official_nested.ckpt", weights_only=True)


# ------------------------------------------------------------------------------------------------------- what is no file


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize("make", [os.mkfifo if hasattr(os, "mkfifo") else None, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_or_device_is_not_opened(tmp_path, make):
    make(tmp_path / "adapter.safetensors")
    assert refusal(tmp_path / "adapter.safetensors") == (
        f"'{tmp_path / 'adapter.safetensors'}' can't be read (a folder, pipe or device, not a file): expected {PUBLISHED}."
    )


def test_a_link_to_itself_is_told(tmp_path):
    (tmp_path / "adapter.ckpt").symlink_to("adapter.ckpt")
    assert "can't be read (" in refusal(tmp_path / "adapter.ckpt")


# -------------------------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize("extra", [["a" * 10**6], [f"other.{n:06}" for n in range(10_000)], ["b.\n" * 10_000]])
def test_keys_without_measure_do_not_flood_the_message(tmp_path, extra):
    message = refusal_of(tmp_path, {**weights_of(), **{key: torch.zeros(1) for key in extra}})
    assert "which no FantasyTalking layout has" in message and len(message) < LONGEST and "\n" not in message


def test_very_many_values_are_not_even_looked_at(tmp_path):
    """Of no size: a header of 12 MB, and nothing behind it."""
    entry = '"blocks.%d.k":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = ("{" + ",".join(entry % n for n in range(200_000)) + "}").encode()
    (tmp_path / "many.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    message = refusal(tmp_path / "many.safetensors")
    assert (
        message.startswith("'many.safetensors' is no FantasyTalking adapter (it holds blocks.0.k, ") and len(message) < LONGEST
    )


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"format": "fantasytalking", "version": "9" * 10**6}, "is an adapter file of version 9999"),
        ({"format": "fantasytalking"}, "is an adapter file of version none"),
    ],
)
def test_a_version_without_measure_is_told_in_short(tmp_path, about, told):
    message = refusal_of(tmp_path, in_our_names(), about)
    assert told in message and len(message) < LONGEST


@pytest.mark.parametrize("heads", ["9" * 5000, "0", "-4", "4.0", "", "²", "7"])
def test_heads_that_are_none_are_told_in_short(tmp_path, heads):
    identity.write(tmp_path / "identity.safetensors")
    message = refusal_of(tmp_path, load_file(tmp_path / "identity.safetensors"), {"identity_heads": heads})
    assert "heads, which do not divide it: save the file with identity_heads" in message and len(message) < LONGEST


RANGES = [
    "[" * 100_000,
    '{"expression": [0, ' + "9" * 400 + '], "body": [0, 1]}',
    '{"expression": [0, ' + "9" * 5000 + '], "body": [0, 1]}',
    '{"expression": [1, 0], "body": [0, 1], "more": "' + "x" * 10**6 + '"}',
]


@pytest.mark.parametrize("ranges", RANGES, ids=["deep", "no float", "no int", "long"])
def test_ranges_that_are_none_are_told_in_short(tmp_path, ranges):
    motion.write(tmp_path / "motion.safetensors")
    message = refusal_of(tmp_path, load_file(tmp_path / "motion.safetensors"), {"motion_ranges": ranges})
    assert "in its metadata, expected two ranges of variances, low before high" in message and len(message) < LONGEST


# ------------------------------------------------------------------------------------------------------ sizes and numbers


def test_dicts_that_are_nested_without_measure_are_refused(tmp_path):
    deep: dict = {}
    for _ in range(200):
        deep = {"a": deep}
    torch.save(deep, tmp_path / "deep.ckpt")
    assert "'deep.ckpt' is no adapter file" in refusal(tmp_path / "deep.ckpt")


def test_a_small_pickle_of_very_many_values_is_refused(tmp_path):
    """The same dict ten times in a dict, and so on: 10 ** 12 values in some hundred bytes."""
    many: object = 1
    for _ in range(12):
        many = dict.fromkeys(range(10), many)
    torch.save(many, tmp_path / "many.ckpt")
    assert "'many.ckpt' is no adapter file" in refusal(tmp_path / "many.ckpt")


def test_tensors_that_are_larger_than_their_file_are_refused(tmp_path):
    """One stored number that says it is a terabyte."""
    value = nested()
    value["proj_model"]["proj.weight"] = torch.zeros(1).expand(2**20, 2**18)
    torch.save(value, tmp_path / "huge.ckpt")
    assert (tmp_path / "huge.ckpt").stat().st_size < 10**6
    assert "'huge.ckpt' is no adapter file" in refusal(tmp_path / "huge.ckpt")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda weight: weight.to("meta"), "torch.strided on meta"),
        (lambda weight: weight.float().to_sparse(), "torch.sparse_coo on cpu"),
        (lambda weight: weight.to(torch.complex64), "torch.complex64"),
        (lambda weight: torch.quantize_per_tensor(weight.float(), 0.1, 0, torch.qint8), "torch.qint8"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_weight_that_is_no_tensor_of_its_numbers_is_named_with_its_kind(tmp_path, change, kind):
    value = nested()
    value["proj_model"]["proj.weight"] = change(value["proj_model"]["proj.weight"])
    torch.save(value, tmp_path / "a.ckpt")
    message = refusal(tmp_path / "a.ckpt")
    assert f"'a.ckpt' holds proj_model.proj.weight as {kind}, expected floating-point weights" in message


def test_sizes_of_zero_are_refused(tmp_path):
    message = refusal_of(tmp_path, {key: weight[:0] for key, weight in weights_of().items()})
    assert "does not agree with itself: audio.projector.proj.weight has shape [0, 768], expected a matrix" in message


KEY = "blocks.1.cross_attn.v_proj.weight"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e38, -70_000.0])
def test_a_number_that_no_weight_is_is_named(tmp_path, number):
    weights = {key: weight.float() for key, weight in weights_of().items()}
    weights[KEY][3, 1] = number
    assert refusal_of(tmp_path, weights) == (
        "'adapter.safetensors' holds NaN, infinite or far too large numbers in audio.blocks.1.v_proj.weight, and the video "
        "would be black: the file is damaged, download, convert or export it again."
    )


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_nan_of_8_bit_is_named(tmp_path, dtype):
    weight = weights_of()[KEY].float()
    weight[0, 0] = math.nan
    assert "holds NaN, infinite or far too large numbers" in refusal_of(tmp_path, {**weights_of(), KEY: weight.to(dtype)})


# -------------------------------------------------------------------------------------------------------- the command line


def test_a_target_whose_name_is_too_long_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit) as ending:
        convert.main([str(LAYOUTS / "community_flat.safetensors"), str(tmp_path / ("x" * 300 + ".safetensors"))])
    assert ending.value.code == 1 and "can't be written: " in capsys.readouterr().err


def test_metadata_without_measure_is_kept_and_not_shown(tmp_path, capsys):
    save_file(weights_of(), tmp_path / "a.safetensors", {"note": "y" * 10**6})
    assert convert.main([str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")]) == 0
    assert len(capsys.readouterr().out) < LONGEST
    head = (tmp_path / "b.safetensors").read_bytes()
    assert json.loads(head[8 : 8 + struct.unpack("<Q", head[:8])[0]])["__metadata__"]["note"] == "y" * 10**6


def test_the_files_of_these_tests_are_read_where_nothing_is_wrong(tmp_path):
    for module in (identity, motion):
        module.write(tmp_path / "good.safetensors")
        assert read_adapter(tmp_path / "good.safetensors").parts
