"""The demo's model files: what the templates find under the real models' names, and the stand-ins for what has none."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file

from support import ROOT


@pytest.fixture(scope="module")
def family(host, tmp_path_factory) -> Path:
    """As sources/drawn_world/models, of random weights."""
    from support import random_family

    return random_family.write(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def installed(family, tmp_path_factory) -> Path:
    from install_models import install

    folder = tmp_path_factory.mktemp("models")
    install(folder, family)
    return folder


@pytest.fixture
def demo_pack(host) -> ModuleType:  # `host` first: it imports its modules
    spec = importlib.util.spec_from_file_location("demo_pack", ROOT / "demo/stand_ins/__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_trained_files_are_copies(family, installed):
    for name, target in {
        "dit": "diffusion_models/wan2.1_i2v_480p_14B_fp8_scaled",
        "vae": "vae/wan_2.1_vae",
        "adapter": "fantasytalking/fantasytalking_trained",
    }.items():
        copy = installed / f"{target}.safetensors"
        assert copy.read_bytes() == (family / f"{name}.safetensors").read_bytes() and not copy.is_symlink()
    assert (installed / "wav2vec2/wav2vec2-base-960h.safetensors/model.safetensors").is_file()


def test_another_installation_takes_the_place_of_the_first(family, tmp_path):
    from install_models import install

    install(tmp_path, family)
    (tmp_path / "wav2vec2/wav2vec2-base-960h.safetensors/old.json").write_text("")
    (tmp_path / "vae/wan_2.1_vae.safetensors").write_text("old")
    install(tmp_path, family)
    assert not (tmp_path / "wav2vec2/wav2vec2-base-960h.safetensors/old.json").exists()
    assert (tmp_path / "vae/wan_2.1_vae.safetensors").read_bytes() == (family / "vae.safetensors").read_bytes()


def test_the_published_layout_holds_the_adapters_audio_weights(host, family, installed):
    read = host.core("adapter.file").read_adapter
    weights = {name: value for name, value in load_file(family / "adapter.safetensors").items() if name.startswith("audio.")}
    assert same(dict(read(installed / "fantasytalking/fantasytalking_fp16.safetensors").weights), weights)


def test_the_lora_fits_the_dit_and_changes_nothing(run, family, installed):
    import comfy.lora
    import comfy.sd

    model = comfy.sd.load_diffusion_model(str(installed / "diffusion_models/wan2.1_i2v_480p_14B_fp8_scaled.safetensors"))
    lora = load_file(next((installed / "loras").iterdir()))
    patches = comfy.lora.load_lora(lora, comfy.lora.model_lora_keys_unet(model.model, {}))
    assert len(patches) == 8 and len(lora) == 16  # queries and values of both attentions in 2 blocks; every weight is used
    patched, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 1.0)
    key = "diffusion_model.blocks.1.cross_attn.v.weight"
    weight = model.model.state_dict()[key].float()
    found = comfy.lora.calculate_weight(patched.patches[key], weight.clone(), key)
    assert torch.equal(found, weight)


def test_the_upscaler_doubles_every_pixel(run, installed, monkeypatch, host):
    from spandrel import ModelLoader

    model = ModelLoader().load_from_file(installed / "upscale_models/RealESRGAN_x2.pth")
    picture = torch.rand(1, 3, 8, 6)
    with torch.inference_mode():
        found = model(picture)
    assert torch.equal(found, picture.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_the_interpolator_gives_the_mean_of_two_frames(host, installed):
    ifnet = pytest.importorskip("comfy_extras.frame_interpolation_models.ifnet")
    model = ifnet.IFNet(head_ch=4, channels=(4,) * 5)
    model.load_state_dict(load_file(installed / "frame_interpolation/rife_v4.26.safetensors"))
    first, second = torch.rand(2, 1, 3, 64, 64)
    with torch.inference_mode():
        found = model(first, second, 0.5)
    assert torch.allclose(found, (first + second) / 2, atol=1e-5)


# --------------------------------------------------------------------------------------------------------- stand-ins


def test_only_files_without_weights_are_stood_in_for(demo_pack, installed, tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "real.safetensors", {"format": "pt"})
    save_file({"weight": torch.ones(2)}, tmp_path / "plain.safetensors")
    (tmp_path / "old.pth").write_bytes(b"anything")
    assert not any(demo_pack.is_stand_in(str(path)) for path in tmp_path.iterdir())
    for name in ("text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors", "clip_vision/clip_vision_h.safetensors"):
        assert demo_pack.is_stand_in(str(installed / name))
