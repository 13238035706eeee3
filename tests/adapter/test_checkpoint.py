"""Adapter files: every public layout in, our own in and out, also on the command line."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open

from fantasytalking_core.adapter.adapter import Adapter
from fantasytalking_core.adapter.file import read_adapter, save_adapter
from fantasytalking_core.commands import convert
from fantasytalking_core.errors import FantasyTalkingError
from support import ROOT
from support.adapters import (
    COMMUNITY,
    LAYOUTS,
    PUBLISHED,
    SPLIT,
    WHOLE,
    WIDTHS,
    assert_same,
    in_our_names,
    refusal_of,
    weights_of,
)
from support.trap import Trap

# -------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("name", WHOLE)
def test_every_public_layout_gives_the_same_weights_under_our_names(name):
    adapter = read_adapter(LAYOUTS / name)
    assert_same(adapter.weights, in_our_names())
    assert (adapter.audio, adapter.parts) == (WIDTHS, ("audio",))


@pytest.mark.parametrize("paths", [SPLIT, SPLIT[::-1]], ids=["projector_first", "blocks_first"])
def test_a_layout_that_is_split_over_two_files_is_read_from_both(paths):
    assert_same(read_adapter(*paths).weights, in_our_names())


def test_the_weights_fit_the_modules_that_are_trained_and_sampled():
    adapter = read_adapter(COMMUNITY)
    Adapter(adapter.audio).load_state_dict(adapter.weights, strict=True)


def test_a_checkpoint_in_the_old_format_of_pytorch_is_read(tmp_path):
    nested = torch.load(LAYOUTS / "official_nested.ckpt", weights_only=True)
    torch.save(nested, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert_same(read_adapter(tmp_path / "old.ckpt").weights, in_our_names())


@pytest.mark.parametrize("source, name", [("official_nested.ckpt", "a.safetensors"), (COMMUNITY.name, "a.ckpt")])
def test_a_file_is_what_its_bytes_say_whatever_its_name(tmp_path, source, name):
    shutil.copyfile(LAYOUTS / source, tmp_path / name)
    assert_same(read_adapter(tmp_path / name).weights, in_our_names())


# ------------------------------------------------------------------------------------------------------ our layout


def test_our_layout_comes_back_as_it_was_written(tmp_path):
    save_adapter(tmp_path / "ours.safetensors", in_our_names())
    adapter = read_adapter(tmp_path / "ours.safetensors")
    assert_same(adapter.weights, in_our_names())
    assert adapter.audio == WIDTHS


def test_the_metadata_says_format_version_and_parts(tmp_path):
    save_adapter(tmp_path / "ours.safetensors", in_our_names(), {"trained_on": "two speakers"})
    assert read_adapter(tmp_path / "ours.safetensors").metadata == {
        "format": "fantasytalking",
        "version": "1",
        "parts": '["audio"]',
        "trained_on": "two speakers",
    }


def test_a_file_that_can_not_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "ours.safetensors").mkdir()
    with pytest.raises(FantasyTalkingError, match="ours.safetensors' can't be written: "):
        save_adapter(tmp_path / "ours.safetensors", in_our_names())
    assert [path.name for path in tmp_path.iterdir()] == ["ours.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_our_file_may_be_read_by_those_who_may_read_others(tmp_path):
    """The server may run as another user than the one who converted."""
    save_adapter(tmp_path / "ours.safetensors", in_our_names())
    (tmp_path / "other").touch()
    assert (tmp_path / "ours.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("names", [in_our_names, weights_of], ids=["known_names", "unknown_names"])
def test_a_newer_version_of_our_layout_asks_for_an_update(tmp_path, names):
    weights = {f"new.{key}" if names is weights_of else key: value for key, value in names().items()}
    message = refusal_of(tmp_path, weights, {"format": "fantasytalking", "version": "2"})
    assert "is an adapter file of version 2, this pack reads version 1: update the pack" in message


# --------------------------------------------------------------------------------------------- on the command line


def command(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "fantasytalking_core", "convert", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )


def stopped(capsys, *arguments: object) -> tuple[int, str]:
    """Exit status and message of a conversion that does not go through."""
    with pytest.raises(SystemExit) as ending:
        convert.main([str(argument) for argument in arguments])
    return ending.value.code, capsys.readouterr().err


@pytest.mark.slow
def test_the_published_file_is_converted_on_the_command_line(tmp_path):
    target = tmp_path / "ours.safetensors"
    result = command(LAYOUTS / "official_nested.ckpt", target)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{target}: audio; 2 blocks of width 256, audio 768 to 8\n"
    assert_same(read_adapter(target).weights, in_our_names())
    with safe_open(target, "pt") as file:
        assert (file.metadata()["format"], json.loads(file.metadata()["parts"])) == ("fantasytalking", ["audio"])


@pytest.mark.slow
def test_a_malicious_file_ends_the_command_with_status_1_and_leaves_no_target(tmp_path):
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "evil.ckpt")
    result = command(tmp_path / "evil.ckpt", tmp_path / "ours.safetensors")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("'evil.ckpt' was refused: ") and result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["evil.ckpt"]


@pytest.mark.parametrize("name, dtype", [("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_the_type_of_the_weights_can_be_chosen(tmp_path, name, dtype):
    target = tmp_path / "ours.safetensors"
    assert convert.main([*map(str, SPLIT), str(target), "--dtype", name]) == 0
    assert_same(read_adapter(target).weights, {key: weight.to(dtype) for key, weight in in_our_names().items()})


def test_a_file_that_exists_is_not_overwritten(tmp_path, capsys):
    target = tmp_path / "ours.safetensors"
    target.write_text("mine")
    status, message = stopped(capsys, COMMUNITY, target)
    assert status == 2 and "exists already: choose another name or remove it" in message
    assert target.read_text() == "mine"


def test_the_target_must_be_named_safetensors(tmp_path, capsys):
    status, message = stopped(capsys, COMMUNITY, tmp_path / "ours.ckpt")
    assert status == 2 and "expected a name that ends in .safetensors" in message


def test_the_folder_of_the_target_must_exist(tmp_path, capsys):
    status, message = stopped(capsys, COMMUNITY, tmp_path / "none" / "ours.safetensors")
    assert status == 2 and f"there is no folder '{tmp_path / 'none'}': make it first" in message


def test_a_source_that_does_not_exist_is_named(tmp_path, capsys):
    status, message = stopped(capsys, tmp_path / "none.ckpt", tmp_path / "ours.safetensors")
    assert status == 1 and message == f"There is no adapter file '{tmp_path / 'none.ckpt'}': expected {PUBLISHED}.\n"


def test_half_of_a_split_layout_is_told_how_to_be_joined(tmp_path, capsys):
    for half, lacks in zip(SPLIT, ("its block weights", "its projector")):
        status, message = stopped(capsys, half, tmp_path / "ours.safetensors")
        assert status == 1 and f"'{half.name}' lacks {lacks}. If the adapter is split" in message
        assert "convert PROJECTOR BLOCKS adapter.safetensors" in message
