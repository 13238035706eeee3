"""Adapter files as trainings and converters leave them: under a prefix, in a dict with other things, in scaled fp8."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.adapter.file import read_adapter
from fantasytalking_core.commands import convert
from support.adapters import LAYOUTS, SPLIT, assert_same, in_our_names, refusal, refusal_of, weights_of


def nested() -> dict:
    return torch.load(LAYOUTS / "official_nested.ckpt", weights_only=True)


# ------------------------------------------------------------------------------------------------------------- prefixes


@pytest.mark.parametrize("prefix", ["model.", "module.", "diffusion_model.", "model.diffusion_model.", "a.b.c.d.e.f.g.h."])
@pytest.mark.parametrize(
    "layout", ["community_flat.safetensors", "official_flat.safetensors", "processor_flat.safetensors", "ours"]
)
def test_a_prefix_before_all_keys_is_taken_off(tmp_path, prefix, layout):
    weights = in_our_names() if layout == "ours" else load_file(LAYOUTS / layout)
    save_file({prefix + key: weight for key, weight in weights.items()}, tmp_path / "adapter.safetensors")
    assert_same(read_adapter(tmp_path / "adapter.safetensors").weights, in_our_names())


def test_each_half_of_a_split_layout_may_have_a_prefix_of_its_own(tmp_path):
    for name, prefix, source in (("proj", "model.proj_model.", SPLIT[0]), ("blocks", "module.", SPLIT[1])):
        save_file({prefix + key: value for key, value in load_file(source).items()}, tmp_path / f"{name}.safetensors")
    assert_same(read_adapter(tmp_path / "proj.safetensors", tmp_path / "blocks.safetensors").weights, in_our_names())


def test_a_prefix_before_some_keys_is_unknown(tmp_path):
    weights = weights_of()
    weights["model.blocks.0.cross_attn.k_proj.weight"] = weights.pop("blocks.0.cross_attn.k_proj.weight")
    assert "holds model.blocks.0.cross_attn.k_proj.weight, which no FantasyTalking layout has" in refusal_of(tmp_path, weights)


# ---------------------------------------------------------------------------------------------------------- wrapping dicts


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "module", "model_state_dict", "weights", "ema"])
@pytest.mark.parametrize("beside", [{}, {"epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(())}}}}])
def test_a_dict_around_the_weights_is_taken_off_with_what_the_training_keeps_beside_it(tmp_path, wrapper, beside):
    torch.save({**beside, wrapper: nested()}, tmp_path / "adapter.ckpt")
    assert_same(read_adapter(tmp_path / "adapter.ckpt").weights, in_our_names())


def test_a_prefix_in_a_wrapping_dict_is_taken_off(tmp_path):
    torch.save({"step": 7, "state_dict": {f"module.{key}": value for key, value in weights_of().items()}}, tmp_path / "a.ckpt")
    assert_same(read_adapter(tmp_path / "a.ckpt").weights, in_our_names())


def test_of_two_dicts_with_weights_none_is_chosen(tmp_path):
    torch.save({"model": nested(), "ema": nested()}, tmp_path / "adapter.ckpt")
    assert "is no FantasyTalking adapter (it holds ema." in refusal(tmp_path / "adapter.ckpt")


# -------------------------------------------------------------------------------------------------------------- scaled fp8

FP8 = torch.float8_e4m3fn
SCALE = 0.0125


def is_matrix(key: str) -> bool:
    return key.endswith(("_proj.weight", "proj.weight"))


def older(weights: dict, prefix: str = "") -> dict:
    """As ComfyUI's older scaled files: a mark, and beside each weight its scale."""
    scaled = {f"{prefix}scaled_fp8": torch.zeros(2, dtype=FP8)}
    for key, weight in weights.items():
        scaled[prefix + key] = weight.to(FP8) if is_matrix(key) else weight
        if is_matrix(key):
            scaled[prefix + key.replace(".weight", ".scale_weight")] = torch.tensor(SCALE)
            scaled[prefix + key.replace(".weight", ".scale_input")] = torch.tensor(1.0)
    return scaled


def newer(weights: dict, prefix: str = "") -> dict:
    """As its newer ones: beside each weight its scale and its format."""
    about = torch.tensor(list(json.dumps({"format": "float8_e4m3fn"}).encode()), dtype=torch.uint8)
    scaled = {}
    for key, weight in weights.items():
        scaled[prefix + key] = weight.to(FP8) if is_matrix(key) else weight
        if is_matrix(key):
            scaled[prefix + key.replace(".weight", ".weight_scale")] = torch.tensor([SCALE])
            scaled[prefix + key.replace(".weight", ".input_scale")] = torch.tensor(1.0)
            scaled[prefix + key.replace(".weight", ".comfy_quant")] = about.clone()
    return scaled


def times_its_scale() -> dict:
    return {key: weight.to(FP8).float() * SCALE if is_matrix(key) else weight for key, weight in in_our_names().items()}


@pytest.mark.parametrize("written", [older, newer])
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_an_8_bit_weight_is_read_times_its_scale(tmp_path, written, prefix):
    save_file(written(weights_of(), prefix), tmp_path / "adapter.safetensors")
    assert_same(read_adapter(tmp_path / "adapter.safetensors").weights, times_its_scale())


def test_the_projectors_bare_names_may_be_scaled(tmp_path):
    weights = {key.removeprefix("proj_model."): weight for key, weight in weights_of().items()}
    save_file(older(weights), tmp_path / "adapter.safetensors")
    assert_same(read_adapter(tmp_path / "adapter.safetensors").weights, times_its_scale())


def test_8_bit_weights_without_a_scale_stay_as_they_are(tmp_path):
    weights = {key: weight.to(FP8) for key, weight in weights_of().items()}
    save_file({**weights, "scaled_fp8": torch.zeros(0, dtype=FP8)}, tmp_path / "adapter.safetensors")
    assert_same(
        read_adapter(tmp_path / "adapter.safetensors").weights,
        {key: weight.to(FP8) for key, weight in in_our_names().items()},
    )


@pytest.mark.parametrize("scale", [torch.ones(256, 1), torch.zeros(0), torch.ones((), dtype=torch.uint8)])
def test_a_scale_that_is_not_one_number_is_refused(tmp_path, scale):
    key = "blocks.0.cross_attn.k_proj.weight_scale"
    message = refusal_of(tmp_path, {**newer(weights_of()), key: scale})
    assert message == (
        f"'adapter.safetensors' holds {key} of another shape or type than one number for the whole weight, which this pack "
        "does not read: use a file in 16 bit, or in scaled fp8 with one scale per weight."
    )


def test_a_scale_without_its_weight_is_unknown(tmp_path):
    weights = {**older(weights_of()), "blocks.0.cross_attn.q_proj.scale_weight": torch.ones(())}
    assert "holds blocks.0.cross_attn.q_proj.scale_weight, which no FantasyTalking" in refusal_of(tmp_path, weights)


def test_a_scaled_file_is_converted_to_one_without_scales(tmp_path):
    save_file(older(weights_of()), tmp_path / "adapter.safetensors")
    assert convert.main([str(tmp_path / "adapter.safetensors"), str(tmp_path / "ours.safetensors"), "--dtype", "bf16"]) == 0
    expected = {key: weight.bfloat16() for key, weight in times_its_scale().items()}
    assert_same(read_adapter(tmp_path / "ours.safetensors").weights, expected)
