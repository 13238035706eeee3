"""Adapter files: every public layout in, our own out, nothing that is unsafe or unfit; and where they are found."""

import asyncio
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.reference import FOLDER

from fantasytalking_core import convert
from fantasytalking_core.adapter import Adapter, AudioWidths
from fantasytalking_core.checkpoint import read_adapter, save_adapter
from fantasytalking_core.errors import FantasyTalkingError

ROOT = Path(__file__).resolve().parent.parent
LAYOUTS = FOLDER / "fantasytalking" / "layouts"
COMMUNITY = LAYOUTS / "community_flat.safetensors"
WHOLE = [path.name for path in sorted(LAYOUTS.iterdir()) if "split" not in path.name]
SPLIT = (LAYOUTS / "split_proj.safetensors", LAYOUTS / "split_blocks.safetensors")
WIDTHS = AudioWidths(audio=768, projected=8, model=256, blocks=2)
PUBLISHED = "https://huggingface.co/acvlab/FantasyTalking (fantasytalking_model.ckpt)"


def weights_of(path: Path = COMMUNITY) -> dict[str, torch.Tensor]:
    """The community layout's weights, by its own names."""
    return load_file(path)


def in_our_names() -> dict[str, torch.Tensor]:
    """The same, by the names of `Adapter`, written out by hand."""
    stored = weights_of()
    names = ("proj.weight", "norm.weight", "norm.bias")
    ours = {f"audio.projector.{name}": stored[f"proj_model.{name}"] for name in names}
    for block in (0, 1):
        for name in ("k_proj.weight", "v_proj.weight"):
            ours[f"audio.blocks.{block}.{name}"] = stored[f"blocks.{block}.cross_attn.{name}"]
    return ours


def assert_same(ours, theirs) -> None:
    assert ours.keys() == theirs.keys()
    for key, weight in theirs.items():
        assert ours[key].dtype == weight.dtype and torch.equal(ours[key], weight), key


def refusal(*paths: Path) -> str:
    with pytest.raises(FantasyTalkingError) as error:
        read_adapter(*paths)
    return str(error.value)


def refusal_of(tmp_path: Path, weights: dict, metadata: dict | None = None) -> str:
    """Why a safetensors file of these weights is refused."""
    save_file(weights, tmp_path / "adapter.safetensors", metadata)
    return refusal(tmp_path / "adapter.safetensors")


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
        "format": "fantasytalking", "version": "1", "parts": '["audio"]', "trained_on": "two speakers",
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
        [sys.executable, "-m", "fantasytalking_core.convert", *map(str, arguments)], cwd=ROOT, capture_output=True,
        encoding="utf-8",
    )


def stopped(capsys, *arguments: object) -> tuple[int, str]:
    """Exit status and message of a conversion that does not go through."""
    with pytest.raises(SystemExit) as ending:
        convert.main([str(argument) for argument in arguments])
    return ending.value.code, capsys.readouterr().err


def test_the_published_file_is_converted_on_the_command_line(tmp_path):
    target = tmp_path / "ours.safetensors"
    result = command(LAYOUTS / "official_nested.ckpt", target)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{target}: audio; 2 blocks of width 256, audio 768 to 8\n"
    assert_same(read_adapter(target).weights, in_our_names())
    with safe_open(target, "pt") as file:
        assert (file.metadata()["format"], json.loads(file.metadata()["parts"])) == ("fantasytalking", ["audio"])


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


# ---------------------------------------------------------------------------------------------------- unsafe files

class Trap:
    """Makes a file through the shell when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f'echo sprung > "{self.path}"',)


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
OTHERS = {"a_dit": DIT, "a_lora": LORA, "nothing": {}}


@pytest.mark.parametrize("weights", OTHERS.values(), ids=OTHERS)
def test_weights_of_another_model_are_no_adapter(tmp_path, weights):
    held = ", ".join(sorted(weights)) or "nothing"
    assert refusal_of(tmp_path, weights) == (
        f"'adapter.safetensors' is no FantasyTalking adapter (it holds {held} …): expected {PUBLISHED} or a conversion "
        "of it."
    )


@pytest.mark.parametrize("value", [DIT, [1, 2], torch.zeros(3)], ids=["a_dit", "a_list", "a_tensor"])
def test_a_checkpoint_of_something_else_is_no_adapter(tmp_path, value):
    torch.save(value, tmp_path / "other.ckpt")
    assert "'other.ckpt' is no FantasyTalking adapter (it holds " in refusal(tmp_path / "other.ckpt")


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


# --------------------------------------------------------------------------------------------------- loader nodes

@pytest.fixture
def models(host, base_directory, monkeypatch):
    """The host's models folder; what a test puts into it is gone after the test."""
    models = base_directory / "models"
    before = set(models.rglob("*"))
    monkeypatch.setattr(host.folder_paths, "filename_list_cache", {})
    yield models
    for path in sorted(set(models.rglob("*")) - before, reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def put(source: Path, target: Path) -> Path:
    """A copy of a file or folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    return target


def choices(host, node_id: str, name: str) -> list[str]:
    """What a node's input offers on the page."""
    kind, options = host.nodes[node_id].INPUT_TYPES()["required"][name]
    return options["options"] if kind == "COMBO" else kind


def rejection(node_id: str, **inputs) -> str:
    """Why the host rejects a graph with this node before anything runs; empty where it does not."""
    import execution

    prompt = {
        "1": {"class_type": node_id, "inputs": inputs},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    valid, _, _, errors = asyncio.run(execution.validate_prompt("test", prompt, None))
    assert valid is (not errors)
    return "\n".join(error["details"] for node in errors.values() for error in node["errors"])


def blocks_of(adapter) -> torch.Tensor:
    return adapter.model.audio.blocks[1].v_proj.weight


ADAPTER = "FantasyTalkingAdapterLoader"


@pytest.mark.parametrize(
    "folder", ["fantasytalking", "model_patches", "diffusion_models", "unet", "fantasytalking/mine"]
)
def test_an_adapter_is_found_where_people_have_it(host, run, models, folder):
    put(COMMUNITY, models / folder / "found.safetensors")
    name = "found.safetensors" if folder != "fantasytalking/mine" else os.path.join("mine", "found.safetensors")
    assert name in choices(host, ADAPTER, "adapter_name")
    assert rejection(ADAPTER, adapter_name=name) == ""
    (adapter,) = run(ADAPTER, adapter_name=name)
    assert torch.equal(blocks_of(adapter).float(), in_our_names()["audio.blocks.1.v_proj.weight"].float())


def test_files_that_are_called_so_are_offered_first(host, models):
    put(COMMUNITY, models / "fantasytalking" / "z_fantasytalking.safetensors")
    put(COMMUNITY, models / "diffusion_models" / "a_dit.safetensors")
    names = choices(host, ADAPTER, "adapter_name")
    assert names.index("z_fantasytalking.safetensors") < names.index("a_dit.safetensors")


def test_of_two_files_of_one_name_the_first_folders_counts(host, run, models):
    put(FOLDER / "fantasytalking" / "fantasytalking_tiny.safetensors", models / "model_patches" / "same.safetensors")
    put(COMMUNITY, models / "fantasytalking" / "same.safetensors")
    assert choices(host, ADAPTER, "adapter_name").count("same.safetensors") == 1
    (adapter,) = run(ADAPTER, adapter_name="same.safetensors")
    assert adapter.model.audio.widths.projected == 8  # that of models/fantasytalking has 8, the other 512


@pytest.fixture
def configured(host, models, monkeypatch, tmp_path):
    """Start the pack's folders anew, as the host does: after it has read its extra_model_paths.yaml."""
    import utils.extra_config

    paths = host.folder_paths.folder_names_and_paths
    for key, (folders, extensions) in list(paths.items()):
        monkeypatch.setitem(paths, key, (list(folders), set(extensions)))
    for key in ("fantasytalking", "wav2vec2"):
        monkeypatch.delitem(paths, key)

    def read(yaml: str) -> None:
        (tmp_path / "extra_model_paths.yaml").write_text(yaml)
        utils.extra_config.load_extra_path_config(str(tmp_path / "extra_model_paths.yaml"))
        host.core("host.folders").register()

    return read


@pytest.mark.parametrize("key", ["fantasytalking", "model_patches", "diffusion_models"])
def test_adapters_are_found_through_extra_model_paths(host, run, configured, tmp_path, key):
    put(COMMUNITY, tmp_path / "elsewhere" / "extra.safetensors")
    configured(f"other_disk:\n    base_path: {tmp_path}\n    {key}: elsewhere\n")
    assert "extra.safetensors" in choices(host, ADAPTER, "adapter_name")
    assert run(ADAPTER, adapter_name="extra.safetensors")[0].model.audio.widths.projected == 8


def test_the_models_folder_comes_first_then_the_extra_ones_then_the_shared_ones(host, configured, models, tmp_path):
    configured(f"other_disk:\n    fantasytalking: {tmp_path / 'extra'}\n")
    folders = host.folder_paths.get_folder_paths("fantasytalking")
    assert folders[:2] == [str(models / "fantasytalking"), str(tmp_path / "extra")]
    assert folders[2] == str(models / "model_patches") and folders[-1] == str(models / "diffusion_models")


def test_wav2vec2_folders_are_found_through_extra_model_paths(host, configured, tmp_path):
    put(FOLDER / "wav2vec2", tmp_path / "voices" / "extra")
    configured(f"other_disk:\n    wav2vec2: {tmp_path / 'voices'}\n")
    assert "extra" in choices(host, WAV2VEC, "model_name")
    assert host.core("host.folders").wav2vec_path("extra") == tmp_path / "voices" / "extra"


@pytest.mark.parametrize("node_id, others", [
    (ADAPTER, {}),
    ("FantasyTalkingDiTLoader", {"dit_name": "reference_wan_i2v.safetensors", "weight_dtype": "default"}),
])
def test_a_missing_adapter_is_told_with_folder_and_source(host, run, node_id, others):
    expected = (
        "There is no adapter file 'gone.safetensors': put it into ComfyUI/models/fantasytalking; it is published at "
        f"{PUBLISHED}."
    )
    assert rejection(node_id, adapter_name="gone.safetensors", **others) == f"adapter_name - {expected}"
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(node_id, adapter_name="gone.safetensors", **others)
    assert str(error.value) == expected


OUTSIDE = [
    "../reference.safetensors", "sub/../../reference.safetensors", "/reference.safetensors", "C:reference.safetensors",
    "..\\reference.safetensors", "C:\\reference.safetensors", "\\\\server\\share\\reference.safetensors", "..", "", "a\0b",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_adapter_name_that_leads_out_of_the_folders_is_none(host, run, name):
    """Also where the host would find `reference.safetensors` by it."""
    assert "There is no adapter file" in rejection(ADAPTER, adapter_name=name)
    with pytest.raises(host.core("errors").FantasyTalkingError, match="There is no adapter file"):
        run(ADAPTER, adapter_name=name)


def test_an_adapter_that_is_refused_is_refused_by_the_node(host, run, models):
    torch.save(Trap(models / "sprung"), models / "fantasytalking" / "evil.ckpt")
    with pytest.raises(host.core("errors").FantasyTalkingError, match="'evil.ckpt' was refused"):
        run(ADAPTER, adapter_name="evil.ckpt")
    assert not (models / "sprung").exists()


# --------------------------------------------------------------------------------------------- types of the weights

def loaded(host, tmp_path: Path, change) -> Adapter:
    save_file({key: change(key, weight) for key, weight in weights_of().items()}, tmp_path / "adapter.safetensors")
    return host.core("host.loading").load_adapter(tmp_path / "adapter.safetensors").model


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_the_blocks_keep_the_type_of_the_file(host, tmp_path, dtype):
    adapter = loaded(host, tmp_path, lambda key, weight: weight.to(dtype))
    expected = weights_of()["blocks.1.cross_attn.v_proj.weight"].to(dtype)
    assert torch.equal(adapter.audio.blocks[1].v_proj.weight.float(), expected.float())
    assert adapter.audio.blocks[1].v_proj.weight.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_float32_file_takes_the_type_that_the_host_uses_on_this_device(host, tmp_path, dtype):
    import comfy.model_management as management

    chosen = management.unet_dtype(management.get_torch_device(), 0, [torch.bfloat16, torch.float16, torch.float32])
    adapter = loaded(host, tmp_path, lambda key, weight: weight.to(dtype))
    assert {weight.dtype for weight in adapter.audio.blocks.parameters()} == {chosen}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e4m3fn])
def test_the_projector_is_float32_as_it_computes(host, tmp_path, dtype):
    """Also beside blocks of another type, and whichever key of a file comes first."""
    adapter = loaded(host, tmp_path, lambda key, weight: weight.to(dtype) if "blocks" in key else weight.float())
    assert {weight.dtype for weight in adapter.audio.projector.parameters()} == {torch.float32}
    assert torch.equal(adapter.audio.projector.proj.weight, weights_of()["proj_model.proj.weight"].float())


def test_an_adapter_in_8_bit_gives_keys_and_values_of_the_querys_type(host, tmp_path):
    adapter = loaded(host, tmp_path, lambda key, weight: weight.to(torch.float8_e4m3fn))
    tokens = torch.randn(1, 3, 8, dtype=torch.bfloat16)
    keys, _ = adapter.audio.blocks[0](tokens)
    expected = tokens @ weights_of()["blocks.0.cross_attn.k_proj.weight"].to(torch.float8_e4m3fn).bfloat16().T
    assert keys.dtype == torch.bfloat16 and torch.allclose(keys, expected, atol=1e-2)


# ------------------------------------------------------------------------------------------------- Wav2Vec2 folders

WAV2VEC = "FantasyTalkingWav2VecLoader"


@pytest.mark.parametrize("place, name", [
    ("wav2vec2/mine", "mine"),
    ("wav2vec2", "."),
    ("transformers/facebook/wav2vec2-base-960h", os.path.join("facebook", "wav2vec2-base-960h")),
])
def test_a_wav2vec2_folder_is_found_where_packs_put_it(host, run, models, place, name):
    for file in (FOLDER / "wav2vec2").iterdir():
        put(file, models / place / file.name)
    assert name in choices(host, WAV2VEC, "model_name")
    assert rejection(WAV2VEC, model_name=name) == ""
    assert run(WAV2VEC, model_name=name)[0].model.config.hidden_size == 768


def test_only_wav2vec2_folders_are_offered(host, models):
    put(FOLDER / "wav2vec2", models / "transformers" / "google" / "t5")
    config = models / "transformers" / "google" / "t5" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "t5"}))
    (models / "transformers" / "broken").mkdir()
    (models / "transformers" / "broken" / "config.json").write_text("[]")
    assert choices(host, WAV2VEC, "model_name") == ["reference"]


def test_a_missing_wav2vec2_folder_is_told_with_folder_and_source(host, run):
    expected = (
        "There is no Wav2Vec2 folder 'gone': put all files of https://huggingface.co/facebook/wav2vec2-base-960h into "
        "ComfyUI/models/wav2vec2/wav2vec2-base-960h."
    )
    assert rejection(WAV2VEC, model_name="gone") == f"model_name - {expected}"
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(WAV2VEC, model_name="gone")
    assert str(error.value) == expected


@pytest.mark.parametrize(
    "name", ["../reference", "reference/../reference", "/reference", "..\\reference", "C:\\reference"]
)
def test_a_wav2vec2_name_that_leads_out_of_the_folders_is_none(host, run, name):
    assert "There is no Wav2Vec2 folder" in rejection(WAV2VEC, model_name=name)
    with pytest.raises(host.core("errors").FantasyTalkingError, match="There is no Wav2Vec2 folder"):
        run(WAV2VEC, model_name=name)


def test_an_adapter_loads_where_the_host_makes_its_layers_lazily(run, monkeypatch):
    """With its dynamic memory on (NVIDIA GPUs), the host's layers have no weights before a file fills them."""
    import comfy.memory_management

    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    adapter = run("FantasyTalkingAdapterLoader", adapter_name="reference.safetensors")[0].model
    stored = load_file(FOLDER / "fantasytalking" / "fantasytalking_tiny.safetensors")
    assert torch.equal(adapter.audio.blocks[1].v_proj.weight, stored["blocks.1.cross_attn.v_proj.weight"])
    assert torch.equal(adapter.audio.projector.proj.weight, stored["proj_model.proj.weight"].float())
