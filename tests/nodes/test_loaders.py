"""The loader nodes: where files are found, what is said of those that are not, and how weights are kept."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.adapter.adapter import Adapter
from support.adapters import (
    COMMUNITY,
    PUBLISHED,
    in_our_names,
    weights_of,
)
from support.graphs import choices, put, rejection
from support.reference import FOLDER
from support.trap import Trap

# --------------------------------------------------------------------------------------------------- loader nodes


def blocks_of(adapter) -> torch.Tensor:
    return adapter.model.audio.blocks[1].v_proj.weight


ADAPTER = "FantasyTalkingAdapterLoader"


@pytest.mark.parametrize("folder", ["fantasytalking", "model_patches", "diffusion_models", "unet", "fantasytalking/mine"])
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


@pytest.mark.parametrize(
    "node_id, others",
    [
        (ADAPTER, {}),
        ("FantasyTalkingDiTLoader", {"dit_name": "reference_wan_i2v.safetensors", "weight_dtype": "default"}),
    ],
)
def test_a_missing_adapter_is_not_in_the_list_and_one_that_vanished_is_told_with_folder_and_source(host, run, node_id, others):
    expected = (
        "There is no adapter file 'gone.safetensors': put it into ComfyUI/models/fantasytalking; it is published at "
        f"{PUBLISHED}."
    )
    listed = choices(host, node_id, "adapter_name")
    assert rejection(node_id, adapter_name="gone.safetensors", **others) == f"adapter_name: 'gone.safetensors' not in {listed}"
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(node_id, adapter_name="gone.safetensors", **others)
    assert str(error.value) == expected


OUTSIDE = [
    "../reference.safetensors",
    "sub/../../reference.safetensors",
    "/reference.safetensors",
    "C:reference.safetensors",
    "..\\reference.safetensors",
    "C:\\reference.safetensors",
    "\\\\server\\share\\reference.safetensors",
    "..",
    "",
    "a\0b",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_adapter_name_that_leads_out_of_the_folders_is_none(host, run, name):
    """Also where the host would find `reference.safetensors` by it."""
    assert f"adapter_name: {name!r} not in " in rejection(ADAPTER, adapter_name=name)
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


@pytest.mark.parametrize(
    "place, name",
    [
        ("wav2vec2/mine", "mine"),
        ("wav2vec2", "."),
        ("transformers/facebook/wav2vec2-base-960h", os.path.join("facebook", "wav2vec2-base-960h")),
    ],
)
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


def test_a_missing_wav2vec2_model_is_not_in_the_list_and_one_that_vanished_is_told_with_folder_and_source(host, run):
    expected = (
        "There is no Wav2Vec2 model 'gone': put model.safetensors of https://huggingface.co/facebook/wav2vec2-base-960h into "
        "ComfyUI/models/wav2vec2, named wav2vec2-base-960h.safetensors."
    )
    assert rejection(WAV2VEC, model_name="gone") == "model_name: 'gone' not in ['reference']"
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(WAV2VEC, model_name="gone")
    assert str(error.value) == expected


@pytest.mark.parametrize("name", ["../reference", "reference/../reference", "/reference", "..\\reference", "C:\\reference"])
def test_a_wav2vec2_name_that_leads_out_of_the_folders_is_none(host, run, name):
    assert rejection(WAV2VEC, model_name=name) == f"model_name: {name!r} not in ['reference']"
    with pytest.raises(host.core("errors").FantasyTalkingError, match="There is no Wav2Vec2 model"):
        run(WAV2VEC, model_name=name)


def test_an_adapter_loads_where_the_host_makes_its_layers_lazily(run, monkeypatch):
    """With its dynamic memory on (NVIDIA GPUs), the host's layers have no weights before a file fills them."""
    import comfy.memory_management

    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    adapter = run("FantasyTalkingAdapterLoader", adapter_name="reference.safetensors")[0].model
    stored = load_file(FOLDER / "fantasytalking" / "fantasytalking_tiny.safetensors")
    assert torch.equal(adapter.audio.blocks[1].v_proj.weight, stored["blocks.1.cross_attn.v_proj.weight"])
    assert torch.equal(adapter.audio.projector.proj.weight, stored["proj_model.proj.weight"].float())


# ------------------------------------------------------------------------------------------------ diffusion models

DIT = "FantasyTalkingDiTLoader"


def t2v() -> dict[str, torch.Tensor]:
    from comfy.ldm.wan.model import WanModel
    from comfy.ops import disable_weight_init

    sizes = {"in_dim": 16, "dim": 256, "ffn_dim": 64, "text_dim": 4096, "num_heads": 2, "num_layers": 2}
    dit = WanModel("t2v", **sizes, device="cpu", dtype=torch.float32, operations=disable_weight_init)
    return {key: torch.zeros_like(value) for key, value in dit.state_dict().items()}


NO_DITS = {
    "vae.safetensors": lambda: {"encoder.conv1.weight": torch.zeros(4, 3), "decoder.head.0.gamma": torch.zeros(4)},
    "umt5.safetensors": lambda: {
        "shared.weight": torch.zeros(4, 4),
        "encoder.block.0.layer.0.layer_norm.weight": torch.zeros(4),
    },
    "empty.safetensors": dict,
    "adapter.safetensors": weights_of,
}


@pytest.mark.parametrize("name", [*NO_DITS, "text.safetensors", "cut.safetensors", "text.ckpt"])
def test_a_file_that_is_no_diffusion_model_is_told_with_what_was_expected(host, run, models, name):
    path = models / "diffusion_models" / name
    if name in NO_DITS:
        save_file(NO_DITS[name](), path)
    elif name == "cut.safetensors":
        path.write_bytes((models / "diffusion_models" / "reference_wan_i2v.safetensors").read_bytes()[:1000])
    else:
        path.write_bytes(b"hello")
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(DIT, dit_name=name, weight_dtype="default", adapter_name="reference.safetensors")
    message = str(error.value)
    assert message.startswith(f"'{name}' can't be loaded as a diffusion model (") and len(message) < 400
    assert message.endswith(
        "): expected Wan2.1 I2V 14B (480p or 720p) in ComfyUI/models/diffusion_models, choose that file, or download it again."
    )


@pytest.mark.parametrize("name", ["gone.safetensors", None])
def test_a_missing_diffusion_model_is_told_with_folder_and_source(host, run, name):
    """None: there is none at all, and the list says so in the place of a name."""
    place = host.core("host.folders").DIT
    named = "" if name is None else f" '{name}'"
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(DIT, dit_name=name or place.offered([])[0], weight_dtype="default", adapter_name="reference.safetensors")
    assert str(error.value) == (
        f"There is no diffusion model{named}: put Wan2.1 I2V 14B (480p or 720p) into ComfyUI/models/diffusion_models; it is "
        "published at https://huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged."
    )


def test_a_text_to_video_model_is_told(host, run, models):
    save_file(t2v(), models / "diffusion_models" / "t2v.safetensors")
    with pytest.raises(host.core("errors").FantasyTalkingError, match="The model is a Wan T2V or Wan2.2 one"):
        run(DIT, dit_name="t2v.safetensors", weight_dtype="default", adapter_name="reference.safetensors")


@pytest.mark.parametrize("kind", ["InterruptProcessingException", "OutOfMemoryError"])
def test_an_interruption_and_a_lack_of_memory_stay_the_hosts(host, run, monkeypatch, kind):
    """It stops, or frees memory and says so."""
    import comfy.model_management

    import nodes

    raised = getattr(comfy.model_management, kind, torch.cuda.OutOfMemoryError)

    def load_unet(self, name, dtype):
        raise raised("stop")

    monkeypatch.setattr(nodes.UNETLoader, "load_unet", load_unet)
    with pytest.raises(raised):
        run(DIT, dit_name="reference_wan_i2v.safetensors", weight_dtype="default", adapter_name="reference.safetensors")
