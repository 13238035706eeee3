"""AdamW's moments in 8 bits: bitsandbytes' own, on the CPU."""

import logging
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch.optim import AdamW

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.run import checkpoints, optimizer
from fantasytalking_core.training.run.before import check_before_loading
from fantasytalking_core.training.run.config import AudioSizes, Config, Stage
from fantasytalking_core.training.run.memory import Held
from fantasytalking_core.training.run.trainer import Trainer
from support import training
from support.fake_dit import FakeDit


@pytest.fixture
def settings(tmp_path) -> Config:
    """Four steps; the keys and values of speech have 16 × 512 numbers each, of which bitsandbytes makes 8 bits."""
    cache = training.write_cache(tmp_path / "cache", *(training.sample(seed) for seed in range(3)))
    return training.config(
        tmp_path / "dit.safetensors",
        cache,
        tmp_path / "run",
        stages=(Stage("clip", 4),),
        audio=AudioSizes(512),
        learning_rate=1e-3,
        optimizer="adamw8bit",
    )


def trainer(settings: Config) -> Trainer:
    return Trainer(settings, FakeDit())


def run(settings: Config) -> list[float]:
    """Losses."""
    found = []
    trainer(settings).run(lambda step, values: found.append(values["loss"]))
    return found


def is_large(weight: torch.Tensor) -> bool:
    return weight.numel() >= 4096


def test_moments_of_large_weights_have_8_bits_and_a_scale_for_256(settings):
    done = trainer(settings)
    done.run()
    sizes = {True: 0, False: 0}
    for weight, state in done.optimizer.state.items():
        sizes[is_large(weight)] += 1
        assert {state["state1"].dtype, state["state2"].dtype} == {torch.uint8 if is_large(weight) else torch.float32}
        if is_large(weight):
            assert state["absmax1"].shape == state["absmax2"].shape == (math.ceil(weight.numel() / 256),)
    assert sizes[True] == 5 and sizes[False] > 20  # projector, keys and values of two blocks


@pytest.mark.parametrize("name", ["adamw", "adamw8bit"])
def test_the_bytes_that_are_counted_are_those_that_are_held(settings, name):
    """The counting needs no optimizer; here each tensor of it counts once, without its steps and bitsandbytes' levels."""
    settings = replace(settings, optimizer=name)
    done = trainer(settings)
    done.run()
    kept = [
        value
        for state in done.optimizer.state.values()
        for key, value in state.items()
        if key != "step" and not key.startswith("qmap")
    ]
    weights = list(done.step.parameters())
    counted = Held.of(settings, 1000, done.step.adapter)
    assert counted.moments == sum(value.nbytes for value in kept)
    assert counted.trained == counted.gradients == sum(4 * weight.numel() for weight in weights)
    assert counted.together == 1000 + 2 * counted.trained + counted.moments and counted.frozen == 0
    per_number = {"adamw": 8.0, "adamw8bit": 2 + 2 * 4 / 256}[name]
    large = next(weight for weight in weights if is_large(weight))
    assert optimizer.moment_bytes(settings, large) == per_number * large.numel()


def test_a_run_says_what_it_holds(settings, caplog):
    with caplog.at_level(logging.INFO):
        trainer(settings)
    assert "to its end it holds 0.0 GB (the DiT 0.0, the adapter 0.0, its gradients 0.0, their moments 0.0)" in caplog.text
    held = Held(dit=int(16.4e9), frozen=int(1.7e9), trained=int(3.7e9), gradients=int(3.7e9), moments=int(1.9e9))
    assert str(held) == "27.4 GB (the DiT 16.4, the adapter 5.4, its gradients 3.7, their moments 1.9)"


def test_they_lead_to_nearly_the_weights_of_float32(settings):
    """Over the way that the weights have gone."""
    settings = replace(settings, stages=(Stage("clip", 30),))
    before = trainer(settings).weights()
    run(settings)
    run(replace(settings, output=settings.output.with_name("float32"), optimizer="adamw"))
    ours, theirs = (
        load_file(checkpoints.all_of(output)[-1] / checkpoints.ADAPTER)
        for output in (settings.output, settings.output.with_name("float32"))
    )
    for name, weight in before.items():
        cosine = torch.nn.functional.cosine_similarity((ours[name] - weight).flatten(), (theirs[name] - weight).flatten(), 0)
        assert cosine > 0.95, name
    assert any(not torch.equal(ours[name], theirs[name]) for name in before)


def test_a_run_that_is_broken_off_goes_on_to_the_bit(settings, tmp_path):
    unbroken, broken = run(settings), replace(settings, output=tmp_path / "broken")
    assert run(replace(broken, stages=(Stage("clip", 2),))) + run(broken) == unbroken
    ours, theirs = (load_file(checkpoints.all_of(each.output)[-1] / checkpoints.ADAPTER) for each in (broken, settings))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_moments_of_one_kind_are_not_those_of_the_other(settings):
    run(replace(settings, stages=(Stage("clip", 2),)))
    with pytest.raises(FantasyTalkingError, match="belongs to another run: optimizer was adamw8bit, is adamw.*Set these back"):
        run(replace(settings, optimizer="adamw"))


def wrapped(change):
    """A checkpoint whose moments of the second weight are changed."""

    def edited(path) -> None:
        found = torch.load(path, weights_only=True)
        change(found["state"][1][optimizer.WRAPPED])
        torch.save(found, path)

    return edited


@pytest.mark.parametrize(
    "damage",
    [
        wrapped(lambda moments: moments.update(state1=torch.zeros(3, dtype=torch.uint8))),
        wrapped(lambda moments: moments.update(state2=moments["state2"].float() * torch.nan)),
        wrapped(dict.clear),
    ],
)
def test_damaged_moments_are_named_with_the_way_out(settings, damage):
    run(replace(settings, stages=(Stage("clip", 2),)))
    last = checkpoints.all_of(settings.output)[-1]
    damage(last / checkpoints.OPTIMIZER)
    with pytest.raises(FantasyTalkingError, match="optimizer.pt' is damaged .*go on from the checkpoint before it"):
        run(settings)


def test_without_bitsandbytes_it_is_said_before_anything_is_loaded(settings, monkeypatch):
    """Its DiT does not even exist."""
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    words = "optimizer adamw8bit needs bitsandbytes, which is not installed: python -m pip install bitsandbytes, or set adamw"
    with pytest.raises(FantasyTalkingError, match=words):
        check_before_loading(settings)
    check_before_loading(replace(settings, optimizer="adamw"))


@pytest.mark.parametrize("name", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_where_the_launcher_shares_out_the_moments_it_is_refused(settings, monkeypatch, name):
    """As accelerate's launcher tells it."""
    monkeypatch.setenv(name, "true")
    with pytest.raises(FantasyTalkingError, match="does not go with FSDP and DeepSpeed.*set optimizer to adamw"):
        check_before_loading(settings)
    check_before_loading(replace(settings, optimizer="adamw"))


def test_float32_moments_are_pytorchs_own(settings):
    done = trainer(replace(settings, optimizer="adamw"))
    assert type(done.optimizer.optimizer) is AdamW
    assert {group["weight_decay"] for group in done.optimizer.param_groups} == {settings.weight_decay}
