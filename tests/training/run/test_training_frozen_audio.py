"""Identity and motion are trained beside audio weights that stay as they are."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.adapter.file import read_adapter, save_adapter
from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.export import export, public_layout
from fantasytalking_core.training.run import checkpoints
from fantasytalking_core.training.run.config import Stage
from fantasytalking_core.training.run.memory import Held
from support import ROOT, TESTS, one_of_several, training

FROZEN = ("identity", "motion")


@pytest.fixture(scope="module")
def folder(host, tmp_path_factory):
    """A DiT, a cache, and audio weights that have learned something: in our layout, and in the public one."""
    folder = tmp_path_factory.mktemp("frozen")
    training.write_dit(folder / "dit.safetensors")
    training.write_cache(folder / "cache", *(training.sample(seed) for seed in range(5)))
    settings = training.config(folder / "dit.safetensors", folder / "cache", folder / "first", parts=("audio",))
    training.train(settings)
    weights = load_file(checkpoints.all_of(folder / "first")[-1] / checkpoints.ADAPTER)
    save_adapter(folder / "init.safetensors", weights)
    save_file(public_layout(weights), folder / "public.safetensors")
    return folder


@pytest.fixture
def settings(folder, tmp_path):
    return training.config(
        folder / "dit.safetensors",
        folder / "cache",
        tmp_path / "run",
        parts=FROZEN,
        init=folder / "init.safetensors",
        stages=(Stage("frame", 4),),
    )


def trainer(settings):
    from fantasytalking_core.commands.run import trainer_of

    return trainer_of(settings)


@pytest.fixture
def bf16(host, monkeypatch):
    """A device that computes in 16 bits."""
    import comfy.model_management

    monkeypatch.setattr(comfy.model_management, "should_use_bf16", lambda *args, **kwargs: True)


def last(output):
    return read_adapter(checkpoints.all_of(output)[-1] / checkpoints.ADAPTER)


def test_frozen_weights_take_2_bytes_and_have_neither_gradients_nor_moments(settings, bf16):
    """But the projector, which computes in float32."""
    run = trainer(replace(settings, dtype="bf16"))
    adapter = run.step.adapter
    blocks, projector = (
        sum(weight.numel() for weight in module.parameters()) for module in (adapter.audio.blocks, adapter.audio.projector)
    )
    trained = [*adapter.identity.parameters(), *adapter.motion.parameters()]
    numbers = sum(weight.numel() for weight in trained)
    assert sum(weight.nbytes for weight in adapter.audio.parameters()) == 2 * blocks + 4 * projector
    assert blocks == 2 * 2 * 16 * 48 and projector == 12 * 16 + 2 * 16
    held = Held.of(run.config, run.dit.bytes, adapter)
    assert (held.frozen, held.trained, held.gradients, held.moments) == (
        2 * blocks + 4 * projector,
        4 * numbers,
        4 * numbers,
        8 * numbers,
    )
    run.run()
    assert all(weight.grad is None and not weight.requires_grad for weight in adapter.audio.parameters())
    assert set(run.optimizer.state) == set(trained)
    assert sum(state["exp_avg"].numel() for state in run.optimizer.state.values()) == numbers


@pytest.mark.parametrize("init", ["init", "public"])
def test_what_is_written_has_the_audio_weights_of_init_to_the_bit(settings, bf16, folder, tmp_path, init):
    """After a run that holds them in 16 bits, that is broken off, goes on, and is exported."""
    settings = replace(settings, dtype="bf16", init=folder / f"{init}.safetensors")
    training.train(replace(settings, stages=(Stage("frame", 2),)))
    training.train(settings)
    export(settings.output, tmp_path / "exported.safetensors")
    expected = read_adapter(folder / "init.safetensors").weights
    rounded = [key for key, weight in expected.items() if not torch.equal(weight, weight.bfloat16().float())]
    assert len(rounded) > 4
    for file in (last(settings.output), read_adapter(tmp_path / "exported.safetensors")):
        assert file.parts == ("audio", "identity", "motion")
        assert all(torch.equal(file.weights[key], weight) for key, weight in expected.items())
    assert any(last(settings.output).weights[f"identity.blocks.{index}.v_proj.weight"].any() for index in (0, 1))


def test_weights_in_other_types_than_float32_are_written_as_they_came(settings, folder, tmp_path):
    save_adapter(
        tmp_path / "half.safetensors",
        {key: weight.half() for key, weight in read_adapter(folder / "init.safetensors").weights.items()},
    )
    training.train(replace(settings, init=tmp_path / "half.safetensors"))
    expected, found = read_adapter(tmp_path / "half.safetensors").weights, last(settings.output).weights
    assert all(found[key].dtype == torch.float16 and torch.equal(found[key], expected[key]) for key in expected)


def first_gradients(settings) -> dict[str, torch.Tensor]:
    run, found = trainer(replace(settings, stages=(Stage("frame", 1),), max_grad_norm=1e9)), {}
    real = run.accelerator.clip_grad_norm_

    def clip(parameters, limit):
        found.update({name: weight.grad.clone() for name, weight in run.step.named_parameters() if weight.requires_grad})
        return real(parameters, limit)

    run.accelerator.clip_grad_norm_ = clip
    run.run()
    return found


def test_identity_and_motion_learn_as_if_all_were_trained(settings):
    ours = first_gradients(settings)
    theirs = first_gradients(replace(settings, parts=("audio", *FROZEN), output=settings.output.with_name("all")))
    assert {name.split(".")[1] for name in ours} == set(FROZEN) and len(ours) > 20
    assert {name.split(".")[1] for name in theirs} == {"audio", *FROZEN}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_goes_on_to_the_weights_of_an_unbroken_run(settings, tmp_path):
    unbroken = training.train(settings)
    broken = replace(settings, output=tmp_path / "broken")
    found = training.train(replace(broken, stages=(Stage("frame", 2),))) + training.train(broken)
    assert [values["loss"] for values in found] == [values["loss"] for values in unbroken]
    ours, theirs = last(broken.output).weights, last(settings.output).weights
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_it_is_another_run_than_one_that_trains_audio(settings):
    training.train(replace(settings, stages=(Stage("frame", 2),)))
    with pytest.raises(FantasyTalkingError, match="belongs to another run: parts was .*identity.*motion.*, is .*audio"):
        training.train(replace(settings, parts=("audio", *FROZEN)))


def test_samples_hear_the_frozen_weights(settings):
    training.train(replace(settings, sample_every=4, sample_steps=1))
    assert len(list((settings.output / "samples").glob("*.latent"))) == 1


def test_one_part_alone_is_trained_too(settings):
    training.train(replace(settings, parts=("motion",)))
    assert last(settings.output).parts == ("audio", "motion")


SCRIPT = TESTS / "support" / "one_of_several.py"
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def test_two_processes_that_copy_or_share_out_the_weights_learn_as_one(folder, tmp_path):
    """DDP and FSDP2, on a DiT in fp8."""
    changes = {"parts": FROZEN, "init": str(folder / "init.safetensors"), "weight_dtype": "fp8_e4m3fn"}
    command = [sys.executable, *LAUNCH, SCRIPT, os.environ["FANTASYTALKING_HOST"], ROOT, folder, tmp_path / "two"]
    done = subprocess.run(
        [*map(str, command), json.dumps(changes)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"two.{rank}.pt", weights_only=True) for rank in (0, 1))
    one = one_of_several.train(folder, tmp_path / "one", batch_size=2, **changes)
    assert any(gradient.abs().max() > 0.01 for gradient in one["gradients"].values())
    assert first["gradients"].keys() == first["sharded"].keys() == one["gradients"].keys()
    for name, gradient in one["gradients"].items():
        assert (first["gradients"][name] - gradient).abs().max() < 1e-6, name
        assert (first["sharded"][name] - gradient).abs().max() < 1e-6, name
    expected, found = read_adapter(folder / "init.safetensors").weights, last(tmp_path / "two").weights
    assert all(torch.equal(found[key], weight) for key, weight in expected.items())
