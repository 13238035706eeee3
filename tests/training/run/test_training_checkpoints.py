"""Runs that are broken off, go on, run out of disk, or are something else than they were."""

import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.run import checkpoints
from fantasytalking_core.training.run.config import Stage
from support import training

resource = pytest.importorskip("resource", reason="how the tests make writing fail")


class Killed(BaseException):
    """What no handler of errors catches, as a kill."""


@pytest.fixture(scope="module")
def folder(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    training.write_dit(folder / "dit.safetensors")
    training.write_cache(folder / "cache", *(training.sample(seed) for seed in range(5)))
    return folder


@pytest.fixture(scope="module")
def unbroken(folder):
    """A run of six steps: its losses, and its folder."""
    settings = training.config(folder / "dit.safetensors", folder / "cache", folder / "unbroken")
    return settings, training.train(settings)


@pytest.fixture
def settings(folder, tmp_path):
    return training.config(folder / "dit.safetensors", folder / "cache", tmp_path / "run")


def train_until(settings, last: int) -> list[dict[str, float]]:
    """Train until the process is killed, after a step."""
    from fantasytalking_core.commands.run import trainer_of

    found = []

    def on_step(step, values):
        found.append(values)
        if step == last:
            raise Killed

    with pytest.raises(Killed):
        trainer_of(settings).run(on_step)
    return found


def losses(found: list[dict[str, float]]) -> list[float]:
    return [values["loss"] for values in found]


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = (load_file(checkpoints.all_of(output)[-1] / checkpoints.ADAPTER) for output in (one, other))
    return all(torch.equal(ours[name], theirs[name]) for name in theirs) and ours.keys() == theirs.keys()


def names(output: Path) -> list[str]:
    return sorted(path.name for path in (output / "checkpoints").iterdir())


@pytest.mark.parametrize("killed_after, goes_on_from", [(1, 0), (3, 2), (5, 4)])
def test_a_run_that_goes_on_has_the_losses_and_weights_of_an_unbroken_one_to_the_bit(
    settings, unbroken, killed_after, goes_on_from
):
    first = train_until(settings, killed_after)
    rest = training.train(settings)
    assert losses(first) == losses(unbroken[1])[:killed_after]
    assert losses(rest) == losses(unbroken[1])[goes_on_from:]
    assert same_weights(settings.output, unbroken[0].output)
    ours, theirs = (
        checkpoints.load_optimizer(checkpoints.all_of(output)[-1])["state"] for output in (settings.output, unbroken[0].output)
    )
    assert all(torch.equal(ours[key][name], theirs[key][name]) for key in theirs for name in theirs[key])


def test_a_finished_run_has_nothing_left_to_do(unbroken):
    assert training.train(unbroken[0]) == []


def test_a_run_can_be_made_longer(folder, tmp_path, unbroken):
    """The steps of the last stage may grow; those done stay as they were."""
    settings = replace(unbroken[0], output=tmp_path / "run", stages=(Stage("clip", 3), Stage("frame", 1)))
    training.train(settings)
    rest = training.train(replace(settings, stages=unbroken[0].stages))
    assert losses(rest) == losses(unbroken[1])[4:]


@pytest.mark.parametrize("place", ["save_adapter", "save_optimizer", "finish"])
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(settings, unbroken, monkeypatch, place):
    from fantasytalking_core.training.run import trainer

    module = trainer if place == "save_adapter" else checkpoints
    real, calls = getattr(module, place), []

    def killed(*args):
        calls.append(args)
        if len(calls) == 3:
            raise Killed
        return real(*args)

    monkeypatch.setattr(module, place, killed)
    with pytest.raises(Killed):
        training.train(settings)  # at the third checkpoint: that of step 4
    monkeypatch.undo()
    assert [path.name for path in checkpoints.all_of(settings.output)] == ["step_00000002", "step_00000003"]
    assert losses(training.train(settings)) == losses(unbroken[1])[3:]
    assert not list((settings.output / "checkpoints").glob("*.part"))


@contextmanager
def disk_of(bytes_per_file: int):
    """No file may grow beyond this: writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("room", [4_000, 100_000], ids=["for nothing", "for the weights alone"])
def test_a_full_disk_is_said_and_the_checkpoints_before_stay(settings, unbroken, room):
    train_until(settings, 3)
    (complete,) = checkpoints.all_of(settings.output)
    assert (complete / checkpoints.ADAPTER).stat().st_size < 100_000 < (complete / checkpoints.OPTIMIZER).stat().st_size
    with disk_of(room), pytest.raises(FantasyTalkingError) as error:
        training.train(settings)
    assert "The checkpoint can't be written" in str(error.value) and "GiB are free" in str(error.value)
    assert "step_00000002 is complete, and the same command goes on from there" in str(error.value)
    assert names(settings.output) == ["step_00000002"]
    assert losses(training.train(settings)) == losses(unbroken[1])[2:]


def test_only_the_last_checkpoints_are_kept(settings):
    training.train(replace(settings, keep=2, checkpoint_every=1))
    assert names(settings.output) == ["step_00000005", "step_00000006"]


def test_another_cache_is_refused(unbroken, tmp_path):
    other = training.write_cache(tmp_path / "cache", *(training.sample(seed) for seed in range(3)))
    with pytest.raises(FantasyTalkingError, match="belongs to another run: the cache was"):
        training.train(replace(unbroken[0], cache=other))


def test_accumulated_batches_give_the_losses_of_one(settings, unbroken):
    found = training.train(replace(settings, batch_size=1, accumulation=2))
    assert losses(found) == pytest.approx(losses(unbroken[1]), rel=1e-5)
