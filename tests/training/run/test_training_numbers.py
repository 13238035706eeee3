"""Losses, gradients and weights that are no numbers are not learned from, and not written."""

from dataclasses import replace

import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.run import checkpoints
from fantasytalking_core.training.run.config import Config
from fantasytalking_core.training.run.trainer import Trainer
from support import training
from support.fake_dit import FakeDit


@pytest.fixture
def settings(tmp_path) -> Config:
    folder = training.write_cache(tmp_path / "cache", *(training.sample(seed) for seed in range(4)))
    return training.config(tmp_path / "dit", folder, tmp_path / "run", batch_size=1, checkpoint_every=2)


class Spoiled(FakeDit):
    """Right until a step, from which on its velocity goes through something else."""

    def __init__(self, step: int, through) -> None:
        super().__init__()
        self.step, self.through, self.done = step, through, 0

    def velocity(self, x, batch, added):
        self.done += 1
        found = super().velocity(x, batch, added)
        return found if self.done < self.step else self.through(found)


def gradient_of_nan(velocity: torch.Tensor) -> torch.Tensor:
    velocity.register_hook(lambda gradient: gradient * torch.nan)
    return velocity


@pytest.mark.parametrize(
    "through, said",
    [
        (lambda velocity: velocity * torch.nan, "The loss of step 4 is nan"),
        (lambda velocity: velocity * torch.inf, "The loss of step 4 is inf"),
        (gradient_of_nan, "The gradient of step 4 is nan"),
    ],
)
def test_a_step_that_is_no_number_is_not_learned_from(settings, through, said):
    """Its sample is named, and weights and moments stay those of the step before."""
    trainer, before = Trainer(settings, Spoiled(4, through)), {}

    def on_step(step, values):
        before.clear()
        before.update({name: weight.clone() for name, weight in trainer.step.named_parameters()})

    with pytest.raises(FantasyTalkingError) as error:
        trainer.run(on_step)
    assert said in str(error.value) and f"(samples: {trainer.dataset.file(3)})" in str(error.value)
    assert "init can start another run from its adapter, with a lower learning_rate or dtype fp32" in str(error.value)
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.step.named_parameters())
    assert all(moment["exp_avg"].isfinite().all() and moment["step"] == 3 for moment in trainer.optimizer.state.values())
    assert [path.name for path in checkpoints.all_of(settings.output)] == ["step_00000002", "step_00000003"]


def test_of_accumulated_batches_every_one_counts(settings):
    with pytest.raises(FantasyTalkingError, match="The loss of step 2 is nan") as error:
        Trainer(replace(settings, accumulation=2), Spoiled(3, lambda velocity: velocity * torch.nan)).run()
    dataset = Trainer(settings, FakeDit()).dataset
    assert f"(samples: {dataset.file(2)}, {dataset.file(3)})" in str(error.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
def test_weights_that_no_adapter_file_may_hold_are_not_written(settings, value):
    trainer = Trainer(settings, FakeDit())

    def on_step(step, values):
        if step == 3:
            with torch.no_grad():
                trainer.step.adapter.audio.blocks[0].k_proj.weight[0, 0] = value

    with pytest.raises(FantasyTalkingError, match="After step 3, audio.blocks.0.k_proj.weight holds NaN or far too large"):
        trainer.run(on_step)
    assert [path.name for path in checkpoints.all_of(settings.output)] == ["step_00000002"]
    assert not list((settings.output / "checkpoints").glob("*.part"))
    Trainer(settings, FakeDit()).run()


def test_a_run_that_grows_beyond_all_numbers_ends_before_it_writes_them(settings):
    """The highest rate there may be: the run says so, or every checkpoint can be gone on from."""
    settings = replace(settings, learning_rate=1.0, weight_decay=10.0, warmup_steps=0, checkpoint_every=1)
    with pytest.raises(FantasyTalkingError, match="no number to learn from|far too large"):
        Trainer(replace(settings, stages=(training.Stage("clip", 300),)), FakeDit()).run()
    for folder in checkpoints.all_of(settings.output):
        assert checkpoints.load_adapter(folder).weights
