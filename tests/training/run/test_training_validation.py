"""What is held out, what is measured on it, and what a run shows of its losses."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.run.config import Config, Stage
from fantasytalking_core.training.run.dataset import Batch, Dataset
from fantasytalking_core.training.run.log import LOGS, Log
from fantasytalking_core.training.run.processes import accelerator
from fantasytalking_core.training.run.step import Losses
from fantasytalking_core.training.run.trainer import Trainer
from fantasytalking_core.training.run.validation import Validation
from support import training
from support.fake_dit import FakeDit

SAMPLES, HELD = 7, 3
SIGMAS = (0.125, 0.375, 0.625, 0.875)
"""The middles of four stretches as long as each other."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validation") / "cache"
    return training.write_cache(folder, *(training.sample(seed) for seed in range(SAMPLES)))


@pytest.fixture
def settings(cache, tmp_path) -> Config:
    return training.config(tmp_path / "dit", cache, tmp_path / "run", validation_samples=HELD)


def one_of(processes: int, process: int) -> SimpleNamespace:
    """What the measurement asks of accelerate; the sums stay this process's own."""
    return SimpleNamespace(
        num_processes=processes, process_index=process, device=torch.device("cpu"), reduce=lambda sums, how: sums
    )


class Seen:
    """A step whose lips' loss is worked out from what it is given; it keeps that."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def __call__(self, batch: Batch, level: str) -> Losses:
        self.batches.append(batch)
        return Losses(*[loss(batch.latents, batch.speech, batch.sigma)] * 4)


def loss(latents: torch.Tensor, speech: torch.Tensor, sigma: torch.Tensor | float) -> torch.Tensor:
    return (latents.mean() - speech.mean()).abs().reshape(1) + sigma


def test_what_is_held_out_is_never_trained_on_and_all_else_once_in_an_epoch(settings):
    dataset = Dataset(settings)
    epochs = [[dataset.place(4 * epoch + turn) for turn in range(4)] for epoch in range(6)]
    assert len(dataset.held_out) == HELD == len(set(dataset.held_out))
    assert all(sorted(epoch) == sorted(set(range(SAMPLES)) - set(dataset.held_out)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 3


def test_it_follows_from_the_seed_alone(settings):
    assert Dataset(settings).held_out == Dataset(replace(settings, shift=3.0, batch_size=1)).held_out
    assert len({tuple(Dataset(replace(settings, seed=seed)).held_out) for seed in range(5)}) > 1


def test_without_any_the_order_is_that_of_runs_before_there_was_a_validation(settings):
    """The permutation of all samples from the epoch's generator, as it was."""
    import hashlib

    dataset = Dataset(replace(settings, validation_samples=0, seed=5))
    for epoch in range(3):
        digest = hashlib.blake2b(f"5:epoch:{epoch}".encode(), digest_size=8).digest()
        source = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
        expected = torch.randperm(SAMPLES, generator=source).tolist()
        assert [dataset.place(SAMPLES * epoch + turn) for turn in range(SAMPLES)] == expected


@pytest.mark.parametrize("samples, every, expected", [(79, 500, 0), (80, 500, 4), (80, 0, 0)])
def test_a_large_cache_lends_four_samples_unless_nothing_is_measured(tmp_path, samples, every, expected):
    one = training.sample(0)
    folder = training.write_cache(tmp_path / "cache", *[one] * samples)
    dataset = Dataset(training.config(tmp_path, folder, tmp_path / "run", validation_every=every))
    assert len(dataset.held_out) == expected == dataset.config.validation_samples


def test_something_has_to_be_left_to_train_on(settings):
    with pytest.raises(FantasyTalkingError, match="validation_samples is 7, and the cache holds 7 samples: none would be left"):
        Dataset(replace(settings, validation_samples=SAMPLES))


def test_each_is_measured_with_its_own_speech_and_with_another_ones(settings):
    dataset = Dataset(settings)
    found = Validation(dataset, Seen(), FakeDit(), one_of(1, 0)).measure("frame")
    samples = [training.sample(place) for place in dataset.held_out]
    pairs = list(zip(samples, samples[1:] + samples[:1]))
    own = sum(loss(one.latents, one.speech, 0.5).item() for one, _ in pairs) / HELD  # the sigmas' mean is 0.5
    others = sum(loss(one.latents, two.speech, 0.5).item() for one, two in pairs) / HELD
    assert found["validation/lips"] == pytest.approx(own)
    assert found["validation/lips_other_speech"] == pytest.approx(others)
    assert found["validation/gap"] == pytest.approx(1 - own / others, abs=1e-6)
    for sigma in SIGMAS:
        expected = 1 - (own - 0.5 + sigma) / (others - 0.5 + sigma)
        assert found[f"validation/gap_sigma_{sigma:g}"] == pytest.approx(expected, abs=1e-6)


def test_noise_and_sigmas_are_the_same_each_time_and_nothing_is_dropped(settings):
    seen = Seen()
    validation = Validation(Dataset(replace(settings, drop=training.ALL_DROPPED)), seen, FakeDit(), one_of(1, 0))
    assert validation.measure("clip") == validation.measure("clip")
    first, again = seen.batches[: len(seen.batches) // 2], seen.batches[len(seen.batches) // 2 :]
    assert len(first) == HELD * len(SIGMAS) * 2
    assert all(torch.equal(one.noise, two.noise) for one, two in zip(first, again))
    for own, other in zip(first[::2], first[1::2]):
        assert torch.equal(own.noise, other.noise) and own.sigma == other.sigma and torch.equal(own.latents, other.latents)
        assert not torch.equal(own.speech, other.speech)
    assert sorted({batch.sigma.item() for batch in first}) == list(SIGMAS)
    assert len({batch.noise.sum().item() for batch in first}) == HELD * len(SIGMAS)
    assert all(batch.has_image.item() == batch.has_speech.item() == 1 and batch.image.any() for batch in first)


def test_processes_share_out_the_passes_and_take_as_many_each(settings, monkeypatch):
    """24 passes on 5 processes: 5 for each, of which one is not counted."""
    dataset, processes = Dataset(settings), 5
    whole = Validation(dataset, Seen(), FakeDit(), one_of(1, 0)).measure("frame")
    sums: list[torch.Tensor] = []
    for process in range(processes):
        one, seen = one_of(processes, process), Seen()
        one.reduce = lambda found, how: sums.append(found) or found.clone().fill_(1)
        Validation(dataset, seen, FakeDit(), one).measure("frame")
        assert len(seen.batches) == 5
    together = one_of(1, 0)
    together.reduce = lambda found, how: sum(sums)
    assert Validation(dataset, Seen(), FakeDit(), together).measure("frame") == pytest.approx(whole, abs=1e-6)


def test_a_clip_whose_lips_are_not_known_says_nothing(settings, tmp_path):
    folder = training.write_cache(tmp_path / "cache", *[training.sample(0, lips=torch.zeros(5, 4, 4))] * 4)
    dataset = Dataset(replace(settings, cache=folder, validation_samples=2))
    assert Validation(dataset, Seen(), FakeDit(), one_of(1, 0)).measure("frame") == {}


def losses(settings: Config) -> list[float]:
    found = []
    Trainer(settings, FakeDit()).run(lambda step, values: found.append(values["loss"]))
    return found


def test_to_measure_changes_nothing_of_the_training(settings, tmp_path):
    often = replace(settings, output=tmp_path / "often", validation_every=1)
    assert losses(often) == losses(replace(settings, validation_every=0))


def curves(output) -> EventAccumulator:
    log = EventAccumulator(str(output / LOGS))
    log.Reload()
    return log


def test_it_is_measured_at_the_beginning_every_so_many_steps_and_at_the_end(settings, caplog):
    with caplog.at_level(logging.INFO):
        losses(replace(settings, validation_every=4))
    log = curves(settings.output)
    assert [event.step for event in log.Scalars("validation/gap")] == [0, 4, 6]
    assert {f"validation/gap_sigma_{sigma:g}" for sigma in SIGMAS} <= set(log.Tags()["scalars"])
    assert "validation after step 4: validation/lips " in caplog.text and "validation/gap_sigma_0.875 " in caplog.text


def test_a_run_that_goes_on_measures_nothing_twice(settings):
    settings = replace(settings, validation_every=4)
    losses(replace(settings, stages=(Stage("clip", 3), Stage("frame", 1))))
    losses(settings)
    assert [event.step for event in curves(settings.output).Scalars("validation/gap")] == [0, 4, 6]


def test_losses_are_told_apart_by_stretch_of_sigma(settings):
    """Means since the last time; a stretch of which there was no sample has none."""
    log = Log(settings.output, accelerator(settings, True), 0)
    log.count(torch.tensor([0.0, 0.24, 0.25]), torch.tensor([1.0, 2.0, 5.0]))
    log.count(torch.tensor([0.9, 1.0]), torch.tensor([7.0, 9.0]))
    log.losses(10, 100, {"loss": 3.0})
    log.count(torch.tensor([0.1]), torch.tensor([4.0]))
    log.losses(20, 100, {"loss": 4.0})
    log.close()
    found = curves(settings.output)
    names = [name for name in found.Tags()["scalars"] if name.startswith("loss_by_sigma/")]
    events = {name: [(event.step, event.value) for event in found.Scalars(name)] for name in names}
    assert events == {
        "loss_by_sigma/0-0.25": [(10, 1.5), (20, 4.0)],
        "loss_by_sigma/0.25-0.5": [(10, 5.0)],
        "loss_by_sigma/0.75-1": [(10, 8.0)],
    }


def test_what_is_told_apart_is_what_is_trained_on(settings):
    """One sample per step, so that its loss is that of its stretch."""
    found = []
    settings = replace(settings, batch_size=1)
    Trainer(settings, FakeDit()).run(lambda step, values: found.append(values["loss"]))
    log = curves(settings.output)
    names = [name for name in log.Tags()["scalars"] if name.startswith("loss_by_sigma/")]
    events = sorted((event.step, event.value) for name in names for event in log.Scalars(name))
    assert [step for step, _ in events] == [1, 2, 3, 4, 5, 6]
    assert [value for _, value in events] == pytest.approx(found)


def test_a_log_that_can_not_be_written_is_told_once_and_the_training_goes_on(settings, monkeypatch, caplog):
    from torch.utils.tensorboard import SummaryWriter

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    with caplog.at_level(logging.WARNING):
        assert len(losses(settings)) == 6
    assert caplog.text.count("the log can't be written ([Errno 28] No space left on device)") == 1


def test_an_adapters_file_says_on_how_many_samples_it_was_trained(settings):
    import json

    trainer = Trainer(settings, FakeDit())
    data = json.loads(trainer.metadata(1)["data"])
    assert (data["samples"], data["held_out"]) == (SAMPLES - HELD, HELD)
