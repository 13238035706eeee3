"""The lists of files: made whatever lies in the folders, and of the shared folders only what looks like an adapter."""

import asyncio
import importlib
import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from support.adapters import COMMUNITY, LAYOUTS, weights_of
from support.graphs import choices, put, rejection
from support.reference import FOLDER

ADAPTER, DIT = "FantasyTalkingAdapterLoader", "FantasyTalkingDiTLoader"
WAV2VEC, FACE = "FantasyTalkingWav2VecLoader", "FantasyTalkingFaceEncoderLoader"
LOADERS = [(ADAPTER, "adapter_name"), (DIT, "adapter_name"), (DIT, "dit_name"), (WAV2VEC, "model_name"), (FACE, "model_name")]
ON_LINUX = pytest.mark.skipif(os.name == "nt", reason="Windows has neither these files nor these names")


def lists(host) -> list[list[str]]:
    return [choices(host, node, name) for node, name in LOADERS]


# --------------------------------------------------------------------------------------------- whatever lies in the folders


def huge(path: Path) -> None:
    """A gigabyte that takes no room on the disk."""
    path.touch()
    os.truncate(path, 2**30)


FILES = {
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a pipe": os.mkfifo if hasattr(os, "mkfifo") else None,
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
}
"""What is no file."""
CONFIGS = {
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 10),
    "a gigabyte": huge,
    "deeply nested": lambda path: path.write_text('{"model_type":' * 100_000),
    "a deep list": lambda path: path.write_text("[" * 200_000),
    "a list": lambda path: path.write_text('["wav2vec2"]'),
    "a number": lambda path: path.write_text("1" * 10_000),
    "of another kind": lambda path: path.write_text('{"model_type": {"wav2vec2": 1}}'),
}
"""Files that say nothing of a Wav2Vec2 model."""


@ON_LINUX
@pytest.mark.parametrize("make", [*FILES.values(), *CONFIGS.values()], ids=[*FILES, *CONFIGS])
@pytest.mark.parametrize("folder", ["wav2vec2", "transformers"])
def test_a_config_that_is_none_is_no_wav2vec2_folder_and_hides_no_other(host, models, folder, make):
    (models / folder / "owner" / "name").mkdir(parents=True)
    make(models / folder / "owner" / "name" / "config.json")
    assert choices(host, WAV2VEC, "model_name") == ["reference"]


@ON_LINUX
@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_what_is_no_file_is_not_offered_and_hides_nothing(host, models, make):
    before = lists(host)
    for folder, name in (
        ("fantasytalking", "fantasy.safetensors"),
        ("diffusion_models", "a.safetensors"),
        ("facerecognition", "a.onnx"),
    ):
        (models / folder).mkdir(exist_ok=True)
        make(models / folder / name)
    assert lists(host) == before


@ON_LINUX
def test_links_in_circles_have_an_end(host, models):
    """Two links to the folder that they lie in make 2 ** 40 paths."""
    before = lists(host)
    for folder in ("fantasytalking", "wav2vec2", "diffusion_models", "facerecognition", "transformers"):
        (models / folder / "in").mkdir(parents=True)
        for link, target in (
            ("one", "."),
            ("two", "."),
            ("in/up", ".."),
            ("in/far", "../../"),
            ("three", "four"),
            ("four", "three"),
        ):
            (models / folder / link).symlink_to(target)
    found = lists(host)
    for names, known in zip(found, before, strict=True):
        assert set(known) <= set(names) or known[0].startswith("There is no")


@ON_LINUX
def test_a_folder_that_may_not_be_entered_hides_no_other(host, models, monkeypatch):
    before = lists(host)
    closed = models / "transformers" / "closed"
    closed.mkdir(parents=True)
    scandir = os.scandir

    def refusing(path):  # a mode of 0 does not keep the administrator out
        if os.fspath(path) == str(closed):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert lists(host) == before


@ON_LINUX
def test_names_that_are_no_utf8_are_offered_as_the_host_offers_them(host, models):
    name = os.fsdecode(b"fantasy_\xff.safetensors")
    try:
        put(COMMUNITY, models / "fantasytalking" / name)
    except OSError:
        pytest.skip("this file system knows UTF-8 only")
    assert name in choices(host, ADAPTER, "adapter_name")


@ON_LINUX
def test_every_node_is_registered_whatever_lies_in_the_folders(host, models):
    """As the host registers them when it starts."""
    for number, make in enumerate([*FILES.values(), *CONFIGS.values()]):
        for folder in ("wav2vec2", "transformers"):
            (models / folder / f"bad {number}").mkdir(parents=True)
            make(models / folder / f"bad {number}" / "config.json")
    (models / "transformers" / "loop").symlink_to(".")
    (models / "transformers" / "again").symlink_to(".")
    pack = importlib.import_module(host.core("errors").__package__.rpartition(".")[0])
    extension = asyncio.run(pack.comfy_entrypoint())
    registered = {node.GET_SCHEMA().node_id for node in asyncio.run(extension.get_node_list())}
    assert registered == {id for id, node in host.nodes.items() if id.startswith("FantasyTalking")}


@pytest.mark.parametrize("name", ["base-960h.safetensors", "mine.safetensors", "owner/base-960h.SAFETENSORS"])
def test_a_folder_may_be_called_like_a_file(host, run, models, name):
    """What is in it counts, not what it is called; the file of its weights is no choice of its own."""
    put(FOLDER / "wav2vec2", models / "wav2vec2" / name)
    assert choices(host, WAV2VEC, "model_name") == sorted([name, "reference"])
    assert host.core("host.folders").wav2vec_path(name) == models / "wav2vec2" / name
    run(WAV2VEC, model_name=name)


def test_a_folder_without_a_model_that_is_called_like_a_file_is_none(host, run, models):
    (models / "wav2vec2/base-960h.safetensors").mkdir()
    assert choices(host, WAV2VEC, "model_name") == ["reference"]
    with pytest.raises(
        host.core("errors").FantasyTalkingError, match="^There is no Wav2Vec2 model 'base-960h.safetensors': put "
    ):
        run(WAV2VEC, model_name="base-960h.safetensors")


def test_the_lists_are_the_hosts_own_for_files_in_order(host, models):
    """Over links to files and folders, too, and without those of another ending."""
    (models / "diffusion_models" / "wan").mkdir()
    for name in ("wan/b.safetensors", "wan/a.SAFETENSORS", "c.gguf", "d.txt"):
        (models / "diffusion_models" / name).touch()
    (models / "diffusion_models" / "link").symlink_to(models / "diffusion_models" / "wan")
    assert choices(host, DIT, "dit_name") == host.folder_paths.get_filename_list("diffusion_models")


# ------------------------------------------------------------------------------------------------ adapters in shared folders


def offered(host) -> list[str]:
    return choices(host, ADAPTER, "adapter_name")


def scaled_fp8(path: Path) -> None:
    weights = {f"diffusion_model.{key}": weight.to(torch.float8_e4m3fn) for key, weight in weights_of().items()}
    scales = {key.replace(".weight", ".scale_weight"): torch.ones(()) for key in weights if key.endswith(".weight")}
    save_file({**weights, **scales, "scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)}, path)


def named(keys: list[str], metadata: dict | None = None):
    return lambda path: save_file({key: torch.zeros(1) for key in keys}, path, metadata)


ADAPTERS = {
    "a.safetensors": lambda path: put(COMMUNITY, path),
    "prefixed.safetensors": lambda path: save_file({f"module.{key}": weight for key, weight in weights_of().items()}, path),
    "scaled.safetensors": scaled_fp8,
    "half.safetensors": lambda path: put(LAYOUTS / "split_proj.safetensors", path),
    "of a later version.safetensors": named(["new.weight"], {"format": "fantasytalking", "version": "2"}),
    "my_Adapter.ckpt": Path.touch,
    "FantasyTalking.pt": Path.touch,
}
OTHERS = {
    "wan.safetensors": named(["blocks.0.self_attn.q.weight", "blocks.0.cross_attn.k.weight"]),
    "cosmos.safetensors": named(["net.blocks.0.cross_attn.k_proj.weight", "net.blocks.0.self_attn.k_proj.weight"]),
    "a.ckpt": lambda path: put(LAYOUTS / "official_nested.ckpt", path),
    "empty.safetensors": Path.touch,
    "nothing.safetensors": named([]),
    "list.safetensors": lambda path: path.write_bytes(struct.pack("<Q", 2) + b"[]"),
    "deep.safetensors": lambda path: path.write_bytes(struct.pack("<Q", 10**5) + b'{"a":' + b"[" * 10**5),
    "text.safetensors": lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1"),
    "gigabyte.safetensors": huge,
    "long header.safetensors": lambda path: path.write_bytes(struct.pack("<Q", 2**62) + b"{"),
}


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("folder", ["model_patches", "diffusion_models"])
def test_of_a_shared_folder_what_looks_like_an_adapter_is_offered_after_the_packs_own(host, models, folder, name):
    (models / folder).mkdir(exist_ok=True)
    ADAPTERS[name](models / folder / name)
    assert offered(host) == ["reference.safetensors", name]


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_offered_as_adapters_only_from_the_packs_own_folder(host, models, name):
    OTHERS[name](models / "diffusion_models" / name)
    assert offered(host) == ["reference.safetensors"]
    OTHERS[name](models / "fantasytalking" / name)
    assert set(offered(host)) == {"reference.safetensors", name}


def test_a_header_is_read_once_as_long_as_its_file_stays_the_same(host, models, monkeypatch):
    path = models / "diffusion_models" / "later.safetensors"
    OTHERS["wan.safetensors"](path)
    folders, read = host.core("host.folders"), []
    look = folders.looks_like_an_adapter
    monkeypatch.setattr(folders, "looks_like_an_adapter", lambda path: read.append(path.name) or look(path))
    assert [offered(host), offered(host)] == [["reference.safetensors"]] * 2
    assert read.count("later.safetensors") == 1
    put(COMMUNITY, path)
    assert "later.safetensors" in offered(host)


def test_a_big_model_is_told_by_its_header(host, models):
    """8 GB that take no room on the disk."""
    size = 8 * 2**30
    header = json.dumps({"blocks.0.ffn.0.weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path = models / "diffusion_models" / "wan2.1_14B.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, 8 + len(header) + size)
    assert offered(host) == ["reference.safetensors"]


# -------------------------------------------------------------------------------------------------------- where there is none

EMPTY = {
    (ADAPTER, "adapter_name"): "There is no adapter file: put it into ComfyUI/models/fantasytalking; it is published at "
    "https://huggingface.co/acvlab/FantasyTalking (fantasytalking_model.ckpt).",
    (WAV2VEC, "model_name"): "There is no Wav2Vec2 model: put model.safetensors of "
    "https://huggingface.co/facebook/wav2vec2-base-960h into ComfyUI/models/wav2vec2, named wav2vec2-base-960h.safetensors.",
    (FACE, "model_name"): "There is no face encoder file: put w600k_r50.onnx or glintr100.onnx into "
    "ComfyUI/models/facerecognition, or their folder into ComfyUI/models/insightface/models; they are published at "
    "https://github.com/deepinsight/insightface/tree/master/model_zoo.",
}


@pytest.fixture
def nothing(host, monkeypatch, tmp_path):
    paths = host.folder_paths.folder_names_and_paths
    for key, (_, extensions) in list(paths.items()):
        monkeypatch.setitem(paths, key, ([str(tmp_path / key)], extensions))


@pytest.mark.parametrize("input", EMPTY, ids=lambda input: input[0])
def test_an_empty_list_says_what_to_put_where_on_the_node_and_in_the_hosts_error(host, run, nothing, input):
    (node, name), sentence = input, EMPTY[input]
    assert choices(host, node, name) == [sentence]
    assert rejection(node, **{name: "mine.safetensors"}) == f"{name}: 'mine.safetensors' not in {[sentence]}"
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(node, **{name: sentence})
    assert str(error.value) == sentence


def test_an_empty_list_of_diffusion_models_says_so(host, nothing):
    assert choices(host, DIT, "dit_name") == [
        "There is no diffusion model: put Wan2.1 I2V 14B (480p or 720p) into ComfyUI/models/diffusion_models; it is published "
        "at https://huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged."
    ]


@pytest.mark.parametrize("name", [3, None, 1.5, True, ["a"], {"a": 1}, b"reference", "x" * 5000])
@pytest.mark.parametrize("input", EMPTY, ids=lambda input: input[0])
def test_what_is_no_name_is_told_in_short(host, run, input, name):
    """A name may be wired, from any node."""
    with pytest.raises(host.core("errors").FantasyTalkingError, match="^There is no .*: put ") as error:
        run(input[0], **{input[1]: name})
    assert len(str(error.value)) < 400
