"""A DiT whose weights are held in 8 bits, under training: what it takes, and that the adapter learns the same."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.run import checkpoints
from fantasytalking_core.training.run.dataset import Dataset, collate
from fantasytalking_core.training.run.new_adapter import adapter_of
from fantasytalking_core.training.run.standing import Standing
from fantasytalking_core.training.run.step import TrainingStep
from support import training

FP8 = torch.float8_e4m3fn
BLOCKS = ("blocks.0.", "blocks.1.")
PATCHES = "patch_embedding."
"""The host always has these in float32."""


@pytest.fixture(scope="module")
def world(host, tmp_path_factory):
    """A configuration with files of its DiT: in float32, in fp8, the same in float32, and in fp8 with scales."""
    folder = tmp_path_factory.mktemp("weights")
    training.write_dit(folder / "dit.safetensors")
    weights, about = load_file(folder / "dit.safetensors"), {"config": about_of(folder / "dit.safetensors")}
    rounded = {key: weight if key.startswith(PATCHES) else weight.to(FP8) for key, weight in weights.items()}
    save_file(rounded, folder / "dit_fp8_e4m3fn.safetensors", about)
    save_file({key: weight.float() for key, weight in rounded.items()}, folder / "dit_rounded.safetensors", about)
    for name, write in (("older", older), ("newer", newer)):
        scaled, same = write(weights)
        save_file(scaled, folder / f"dit_{name}_fp8_scaled.safetensors", about)
        save_file(same, folder / f"dit_{name}_same.safetensors", about)
    cache = training.write_cache(folder / "cache", *(training.sample(seed) for seed in range(3)))
    return training.config(folder / "dit.safetensors", cache, folder / "output", drop=training.NOTHING_DROPPED)


def about_of(path) -> str:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata()["config"]


def is_scaled(key: str, weight: torch.Tensor) -> bool:
    """As in the published files: the blocks' matrices."""
    return key.startswith(BLOCKS) and key.endswith(".weight") and weight.ndim == 2


def older(weights: dict) -> tuple[dict, dict]:
    """`fp8_scaled` with a mark, and what it stands for; fp8 matrix products are allowed by its size, 0."""
    scaled, same = {"scaled_fp8": torch.zeros(0, dtype=FP8)}, {}
    for key, weight in weights.items():
        scaled[key] = same[key] = weight
        if is_scaled(key, weight):
            scale = weight.abs().max() / torch.finfo(FP8).max
            scaled[key], scaled[key.replace(".weight", ".scale_weight")] = (weight / scale).to(FP8), scale
            same[key] = scaled[key].float() * scale
    return scaled, same


def newer(weights: dict) -> tuple[dict, dict]:
    """`fp8_scaled` with a format per layer, and what it stands for."""
    scaled, same = older(weights)
    del scaled["scaled_fp8"]
    for key in [key for key in scaled if key.endswith(".scale_weight")]:
        layer = key.removesuffix(".scale_weight")
        scaled[f"{layer}.weight_scale"] = scaled.pop(key)
        scaled[f"{layer}.comfy_quant"] = torch.tensor(list(json.dumps({"format": "float8_e4m3fn"}).encode()), dtype=torch.uint8)
    return scaled, same


def dit_of(world, name: str, dtype: torch.dtype = torch.float32, weight_dtype: torch.dtype | None = None, **how):
    from fantasytalking_core.host.training_dit import TrainingDit, load_dit

    dit = TrainingDit(load_dit(world.model.replace("dit.", f"{name}."), dtype, weight_dtype), **how)
    dit.place()
    return dit


def step_of(world, dit) -> TrainingStep:
    """With an adapter of random weights, also where a new one has zeros."""
    adapter = adapter_of(Standing.of(world, 1), dit.width, dit.blocks)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in adapter.parameters():
            if not weight.any():
                weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return TrainingStep(adapter, dit)


def gradients(world, dit, level: str = "frame") -> dict[str, torch.Tensor]:
    step, dataset = step_of(world, dit), Dataset(world)
    with dit.gradients():
        step(collate([dataset[0], dataset[1]]), level).loss.backward()
    return {name: weight.grad for name, weight in step.named_parameters()}


def closest(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> tuple[float, float]:
    """The lowest cosine of a weight's gradients, and the largest difference in parts of the largest one."""
    assert ours.keys() == theirs.keys() and all(gradient.any() for gradient in theirs.values())
    cosines = [torch.nn.functional.cosine_similarity(ours[key].flatten(), theirs[key].flatten(), 0).item() for key in ours]
    differences = [((ours[key] - theirs[key]).abs().max() / theirs[key].abs().max()).item() for key in ours]
    return min(cosines), max(differences)


@pytest.mark.parametrize("level", ["clip", "frame"])
@pytest.mark.parametrize("file", ["dit", "dit_fp8_e4m3fn"])
def test_gradients_are_those_of_the_same_weights_in_float32(world, file, level):
    """Of weights that are rounded while they are loaded, and of a file that has them so."""
    small, large = dit_of(world, file, weight_dtype=FP8), dit_of(world, "dit_rounded")
    cosine, difference = closest(gradients(world, small, level), gradients(world, large, level))
    assert cosine > 0.9999 and difference < 1e-6
    assert small.dtype == torch.float32


def test_rounding_the_weights_changes_the_gradients_little(world):
    cosine, _ = closest(gradients(world, dit_of(world, "dit", weight_dtype=FP8)), gradients(world, dit_of(world, "dit")))
    assert 0.9 < cosine < 0.9999


def test_a_weight_takes_a_byte(world):
    """But those of the patches."""
    weights = load_file(world.model)
    numbers = sum(weight.numel() for weight in weights.values())
    patches = sum(weight.numel() for key, weight in weights.items() if key.startswith(PATCHES))
    small, default, of_fp8 = dit_of(world, "dit", weight_dtype=FP8), dit_of(world, "dit"), dit_of(world, "dit_fp8_e4m3fn")
    assert sum(weight.nbytes for weight in small.dit.parameters()) == small.bytes == numbers + 3 * patches
    assert default.bytes == of_fp8.bytes == 4 * numbers  # as it computes, whatever the file has


@pytest.mark.parametrize("file", ["older", "newer"])
@pytest.mark.parametrize("multiplies_in_fp8", [False, True], ids=["any device", "a device that multiplies in fp8"])
def test_a_scaled_file_stays_as_it_is_and_gradients_are_those_of_what_it_stands_for(
    world, monkeypatch, file, multiplies_in_fp8
):
    """Where the device can, the host would round the inputs of each layer to fp8, too."""
    import comfy.model_management

    monkeypatch.setattr(comfy.model_management, "supports_fp8_compute", lambda device: multiplies_in_fp8)
    small, large = dit_of(world, f"dit_{file}_fp8_scaled"), dit_of(world, f"dit_{file}_same")
    weights = load_file(world.model)
    scaled = sum(weight.numel() for key, weight in weights.items() if is_scaled(key, weight))
    scales = sum(is_scaled(key, weight) for key, weight in weights.items())
    rest = sum(weight.numel() for weight in weights.values()) - scaled
    about = sum(value.nbytes for key, value in small.dit.state_dict().items() if key.endswith("comfy_quant"))
    assert small.bytes == scaled + 4 * (rest + scales) + about and about < 100 * scales
    cosine, difference = closest(gradients(world, small), gradients(world, large))
    assert cosine > 0.9999 and difference < 1e-6


def test_scaled_weights_are_not_rounded_once_more(world):
    with pytest.raises(FantasyTalkingError, match="'dit_newer_fp8_scaled.safetensors' holds weights with scales.*leave it out"):
        dit_of(world, "dit_newer_fp8_scaled", weight_dtype=FP8)


@pytest.mark.parametrize("file, weight_dtype", [("dit", FP8), ("dit_newer_fp8_scaled", None)])
def test_a_device_of_16_bits_computes_in_the_runs_type_and_not_in_the_one_the_host_would_pick(
    world, monkeypatch, file, weight_dtype
):
    """For weights in fp8, the host picks fp16 first."""
    import comfy.model_management

    for name in ("should_use_fp16", "should_use_bf16"):
        monkeypatch.setattr(comfy.model_management, name, lambda *args, **kwargs: True)
    dit = dit_of(world, file, torch.bfloat16, weight_dtype)
    assert dit.dtype == dit.base.get_dtype_inference() == torch.bfloat16
    exact = gradients(world, dit_of(world, {"dit": "dit_rounded"}.get(file, "dit_newer_same")))
    cosine, _ = closest(gradients(world, dit), exact)
    assert cosine > 0.98


def kept(world, dit) -> int:
    """Bytes that the forward pass keeps for the backward pass, without what lies on the device anyway."""
    found: dict[int, torch.Tensor] = {}
    step, dataset = step_of(world, dit), Dataset(world)
    own = {weight.data_ptr() for module in (step, dit.base) for weight in module.parameters()}
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: found.setdefault(t.data_ptr(), t), lambda t: t)
    with dit.gradients(), hooks:
        losses = step(dataset[0], "frame")
    del losses
    return sum(tensor.untyped_storage().nbytes() for place, tensor in found.items() if place not in own)


def test_what_is_kept_for_the_backward_pass_holds_no_copies_of_the_blocks_weights(world):
    """Without recomputing, it would: all of them, in the type in which it computes. So that is refused."""
    of_context = ("cross_attn.k.weight", "cross_attn.v.weight", "cross_attn.k_img.weight", "cross_attn.v_img.weight")
    weights = load_file(world.model)  # those of text and portrait need no gradient
    in_blocks = sum(4 * w.numel() for key, w in weights.items() if is_scaled(key, w) and not key.endswith(of_context))
    with_, without = (
        kept(world, dit_of(world, "dit", weight_dtype=FP8, checkpointing=recomputes))
        - kept(world, dit_of(world, "dit", checkpointing=recomputes))
        for recomputes in (True, False)
    )
    assert without >= in_blocks > 0 and 0 <= with_ <= without - in_blocks
    with pytest.raises(FantasyTalkingError, match="the backward pass would keep all of the DiT's weights in fp32 beside it"):
        replace(world, weight_dtype="fp8_e4m3fn", gradient_checkpointing=False)


def test_a_run_on_it_samples_goes_on_and_leaves_its_weights_as_they_were(world, tmp_path):
    from fantasytalking_core.commands.run import trainer_of

    settings = replace(world, output=tmp_path / "run", weight_dtype="fp8_e4m3fn", sample_every=3, sample_steps=2)
    run, unbroken = trainer_of(settings), []
    run.run(lambda step, values: unbroken.append(values["loss"]))
    expected = load_file(world.model)
    for key, value in run.dit.dit.state_dict().items():
        assert torch.equal(value.float(), expected[key].to(value.dtype).float())
    assert len(list((settings.output / "samples").glob("*.latent"))) == 2
    broken = replace(settings, output=tmp_path / "broken")
    first = training.train(replace(broken, stages=(training.Stage("clip", 3),)))
    second = training.train(broken)
    assert [values["loss"] for values in (*first, *second)] == unbroken
    with pytest.raises(FantasyTalkingError, match="belongs to another run: weight_dtype was fp8_e4m3fn, is default"):
        training.train(replace(broken, weight_dtype="default"))
    assert checkpoints.all_of(broken.output)[-1].name == "step_00000006"
