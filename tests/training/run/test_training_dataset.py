"""Cached samples as the samples of a run."""

from dataclasses import replace

import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.speech.windows import window_map
from fantasytalking_core.training.run.config import Drop
from fantasytalking_core.training.run.dataset import Batch, Dataset, Numbers, collate, loader
from support import training
from support.training import NOTHING_DROPPED, TOKENS


@pytest.fixture
def config(tmp_path):
    folder = training.write_cache(tmp_path / "cache", *(training.sample(seed) for seed in range(5)))
    return training.config(tmp_path / "dit", folder, tmp_path / "output", drop=NOTHING_DROPPED)


def of(config, **changes) -> Dataset:
    return Dataset(replace(config, **changes))


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other))


def test_every_epoch_reads_every_sample_once_and_in_an_order_of_its_own(config):
    dataset = of(config)
    epochs = [[dataset.place(epoch * 5 + turn) for turn in range(5)] for epoch in range(8)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 4


def test_the_order_follows_from_the_number_wherever_a_run_begins(config):
    dataset = of(config)
    forward = [dataset.place(number) for number in range(20)]
    assert [of(config).place(number) for number in (17, 3, 12)] == [forward[17], forward[3], forward[12]]


@pytest.mark.parametrize("processes, batch_size, accumulation", [(2, 2, 1), (2, 1, 2), (4, 1, 1), (1, 2, 2)])
def test_processes_and_batches_share_out_the_same_numbers(config, processes, batch_size, accumulation):
    changed = replace(config, batch_size=batch_size, accumulation=accumulation)
    parts = [list(Numbers(changed, 1, each, processes)) for each in range(processes)]
    steps = [
        sorted(number for part in parts for rows in part[step * accumulation : (step + 1) * accumulation] for number in rows)
        for step in range(5)
    ]
    assert steps == [list(range(4 * step, 4 * step + 4)) for step in range(1, 6)]
    assert all(len(part) == len(Numbers(changed, 1, 0, processes)) for part in parts)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_loader_reads_what_the_numbers_say(config, workers):
    dataset = of(config, workers=workers)
    batch = next(iter(loader(dataset, Numbers(config, first_step=3))))
    assert same(batch, collate([dataset[6], dataset[7]]))


def test_a_sample_is_as_it_was_cached(config):
    dataset, cached = of(config), training.sample
    row, sample = dataset[2], cached(of(config).place(2))
    for name in ("latents", "image", "clip", "speech", "lips", "face"):
        assert torch.equal(getattr(row, name)[0], getattr(sample, name)), name
    assert torch.equal(row.text[0, :5], sample.text) and row.text.shape == (1, 512, 32) and not row.text[0, 5:].any()
    assert torch.equal(row.windows[0], window_map(TOKENS, training.FRAMES))
    assert (row.has_image.item(), row.has_speech.item(), row.has_face.item()) == (1, 1, 1)
    assert torch.allclose(row.motion, torch.tensor([[0.5, 0.5]]))  # 0.0005 of 0 … 0.001, 0.01 of 0 … 0.02


def test_prompts_are_padded_to_as_many_rows_as_are_set_and_longer_ones_stay_whole(config):
    rows = of(config, text_rows=8)[2].text
    assert rows.shape == (1, 8, 32) and rows[0, :5].any(1).all() and not rows[0, 5:].any()
    mixed = [of(config, text_rows=3)[2], of(config, text_rows=3, drop=Drop(0.0, 0.0, 1.0))[2]]
    assert [row.text.shape[1] for row in mixed] == [5, 3] and collate(mixed).text.shape == (2, 5, 32)


def test_without_its_image_a_sample_shows_nothing_of_it(config):
    row = of(config, drop=Drop(1.0, 0.0, 0.0))[2]
    assert not row.image.any() and not row.clip.any() and row.has_image.item() == 0
    assert row.has_speech.item() == 1 and row.has_face.item() == 1 and torch.equal(row.text, of(config)[2].text)


def test_without_its_prompt_a_sample_has_that_of_the_empty_one(config):
    row = of(config, drop=Drop(0.0, 0.0, 1.0))[2]
    expected = torch.randn(2, 32, generator=torch.Generator().manual_seed(99))
    assert torch.equal(row.text[0, :2], expected) and not row.text[0, 2:].any() and row.image.any()


def test_without_its_speech_a_sample_is_silent(config):
    row = of(config, drop=Drop(0.0, 1.0, 0.0))[2]
    assert row.has_speech.item() == 0 and row.has_image.item() == 1


@pytest.mark.parametrize(
    "motion, expected", [((float("nan"), 0.02), (0.5, 1.0)), ((0.0, float("nan")), (0.0, 0.5)), ((1.0, 0.0), (1.0, 0.0))]
)
def test_motion_that_is_not_known_is_neutral_and_what_lies_outside_is_at_the_ends(tmp_path, motion, expected):
    folder = training.write_cache(tmp_path / "cache", training.sample(0, motion=torch.tensor(motion)))
    assert Dataset(training.config(tmp_path, folder, tmp_path))[0].motion.tolist() == [list(expected)]


def test_samples_without_a_face_have_none_beside_those_with_one(tmp_path):
    folder = training.write_cache(tmp_path / "cache", training.sample(0, face=None), training.sample(1))
    dataset = Dataset(training.config(tmp_path, folder, tmp_path))
    rows = {dataset.place(number): dataset[number] for number in (0, 1)}
    assert rows[0].has_face.item() == 0 and not rows[0].face.any() and rows[0].face.shape == rows[1].face.shape
    assert rows[1].has_face.item() == 1


def test_a_cache_without_any_face_is_refused_for_identity_and_taken_without(tmp_path):
    folder = training.write_cache(tmp_path / "cache", training.sample(0, face=None))
    config = training.config(tmp_path, folder, tmp_path)
    with pytest.raises(FantasyTalkingError, match="No sample of .* has a face embedding.*take identity out of parts"):
        Dataset(config)
    assert Dataset(replace(config, parts=("audio", "motion")))[0].face.shape == (1, 0)


def test_speeches_of_different_lengths_are_padded_and_heard_in_their_own_windows(tmp_path):
    shorter = training.sample(1, speech=torch.randn(TOKENS - 3, training.AUDIO))
    folder = training.write_cache(tmp_path / "cache", training.sample(0), shorter)
    dataset = Dataset(training.config(tmp_path, folder, tmp_path, drop=NOTHING_DROPPED))
    batch = collate([dataset[0], dataset[1]])
    for row, length in enumerate(batch.lengths.tolist()):
        assert not batch.speech[row, length:].any()
        own = window_map(length, training.FRAMES)
        assert torch.equal(batch.windows[row, :, : own.shape[1]], own) and (batch.windows[row, :, own.shape[1] :] == -1).all()


def test_no_cache_and_an_empty_one_are_explained(config, tmp_path):
    with pytest.raises(FantasyTalkingError, match="holds no training cache: run prepare first"):
        of(config, cache=tmp_path / "absent")
    dataset = of(config)
    replace(dataset.index, samples=()).save(config.cache)
    with pytest.raises(FantasyTalkingError, match="holds no samples"):
        of(config)
