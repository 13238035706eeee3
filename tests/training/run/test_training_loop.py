"""The training loop by itself, on a DiT of ten lines: it needs no ComfyUI."""

import logging
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.run import checkpoints
from fantasytalking_core.training.run.config import Config, Stage
from fantasytalking_core.training.run.new_adapter import adapter_of
from fantasytalking_core.training.run.standing import Standing
from fantasytalking_core.training.run.state import STATE
from fantasytalking_core.training.run.trainer import Trainer
from support import training
from support.fake_dit import FakeDit


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop") / "cache"
    return training.write_cache(folder, *(training.sample(seed) for seed in range(3)))


@pytest.fixture
def settings(cache, tmp_path) -> Config:
    """Three steps at clip level and three at frame level, with a checkpoint after every second one."""
    return training.config(tmp_path / "dit.safetensors", cache, tmp_path / "run", weight_decay=0.0)


def losses(settings: Config, dit: FakeDit | None = None, sampler=None) -> list[float]:
    found = []
    Trainer(settings, dit or FakeDit(), sampler).run(lambda step, values: found.append(values["loss"]))
    return found


def written(settings: Config) -> dict[str, torch.Tensor]:
    """The weights of the last checkpoint."""
    return load_file(checkpoints.all_of(settings.output)[-1] / checkpoints.ADAPTER)


def test_the_loss_falls(settings):
    """It begins with 1, the square of what the DiT is wrong by."""
    found = losses(replace(settings, stages=(Stage("clip", 20), Stage("frame", 20))))
    assert found[0] == pytest.approx(1.0, rel=0.05) and max(found[-5:]) < 0.1


def test_every_weight_of_the_adapter_learns(settings):
    trainer = Trainer(settings, FakeDit())
    before = adapter_of(Standing.of(settings, 1), 16, 2).state_dict()
    trainer.run()
    after = written(settings)
    assert before.keys() == after.keys()
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_a_run_ends_with_a_checkpoint_and_returns_it(settings):
    found = Trainer(settings, FakeDit()).run()
    assert found == settings.output / "checkpoints" / "step_00000006"
    assert {file.name for file in found.iterdir()} == {checkpoints.ADAPTER, checkpoints.OPTIMIZER, STATE}


def test_a_second_trainer_goes_on_from_the_checkpoint_to_the_bit(settings, tmp_path):
    unbroken = replace(settings, output=tmp_path / "unbroken")
    whole = losses(unbroken)
    first = losses(replace(settings, stages=(Stage("clip", 3), Stage("frame", 1))))
    assert first + losses(settings) == whole
    ours, theirs = written(settings), written(unbroken)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_finished_run_does_nothing(settings):
    losses(settings)
    assert losses(settings) == []


def test_the_sampler_is_handed_weights_metadata_dataset_level_and_step(settings):
    calls = []

    def sampler(*given):
        calls.append(given)
        return settings.output / "sample"

    trainer = Trainer(replace(settings, sample_every=3, checkpoint_every=3), FakeDit(), sampler)
    trainer.run()
    assert [(level, step) for *_, level, step in calls] == [("clip", 3), ("frame", 6)]
    weights, metadata, dataset, *_ = calls[-1]
    assert weights.keys() == written(settings).keys()
    assert all(torch.equal(weights[name], value) for name, value in written(settings).items())
    assert metadata["steps"] == "6" and metadata["trained_on"] == "dit.safetensors"
    assert dataset is trainer.dataset


def test_samples_change_nothing_of_the_training(settings, tmp_path):
    sampled = replace(settings, output=tmp_path / "sampled", sample_every=1)
    assert losses(sampled, sampler=lambda *given: torch.rand(3)) == losses(settings)


def test_a_sampler_that_fails_is_told_and_the_training_goes_on(settings, caplog):
    def fails(*given):
        raise RuntimeError("out of memory")

    with caplog.at_level(logging.WARNING):
        assert len(losses(replace(settings, sample_every=4), sampler=fails)) == 6
    assert "the sample of step 4 failed" in caplog.text and "out of memory" in caplog.text


def test_the_dit_is_placed_before_the_first_step_and_after_every_sample(settings):
    """The sampler may have moved its weights; every step is one call within `gradients`."""
    dit, step = FakeDit(), ["gradients", "velocity", "no gradients"]
    losses(replace(settings, sample_every=3), dit, sampler=lambda *given: dit.calls.append("sample"))
    assert dit.calls == (["place", *3 * step, "sample"]) * 2 + ["place"]


def test_a_dit_that_refuses_the_cache_ends_the_run_before_it_writes_anything(settings):
    dit = FakeDit()
    dit.refusal = FantasyTalkingError("made for another model")
    with pytest.raises(FantasyTalkingError, match="made for another model"):
        losses(settings, dit)
    assert not settings.output.exists() and dit.calls == []


def test_a_loss_that_is_no_number_ends_the_run_before_it_spoils_a_checkpoint(settings, monkeypatch):
    monkeypatch.setattr(FakeDit, "velocity", lambda self, x, batch, added: x * added.motion.sum() * float("nan"))
    with pytest.raises(FantasyTalkingError, match="The loss of step 1 is nan"):
        losses(settings)
    assert not (settings.output / "checkpoints").exists()
