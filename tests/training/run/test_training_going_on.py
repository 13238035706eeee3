"""What a run goes on from: a checkpoint of its own, whole, whose numbers are numbers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.adapter.file import read_adapter
from fantasytalking_core.adapter.motion import MotionRanges
from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.export import export
from fantasytalking_core.training.run import checkpoints
from fantasytalking_core.training.run.config import AudioSizes, Config, Drop, MotionSizes, Stage
from fantasytalking_core.training.run.state import STATE, State
from fantasytalking_core.training.run.trainer import Trainer
from support import training
from support.fake_dit import FakeDit

SIZES = training.SIZES["identity"]


def run(settings: Config) -> list[float]:
    """Losses."""
    found = []
    Trainer(settings, FakeDit()).run(lambda step, values: found.append(values["loss"]))
    return found


def refusal(settings: Config) -> str:
    with pytest.raises(FantasyTalkingError) as error:
        run(settings)
    return str(error.value)


@pytest.fixture
def settings(tmp_path) -> Config:
    """A run of four steps that has done two, and is to go on."""
    folder = training.write_cache(tmp_path / "cache", *(training.sample(seed) for seed in range(3)))
    settings = training.config(tmp_path / "dit.safetensors", folder, tmp_path / "run", stages=(Stage("clip", 4),))
    run(replace(settings, stages=(Stage("clip", 2),)))
    return settings


@pytest.fixture
def last(settings) -> Path:
    return checkpoints.all_of(settings.output)[-1]


def edit(folder: Path, **changes: Any) -> None:
    """Its state's settings, `None` for those that are to go."""
    about = json.loads((folder / STATE).read_text())
    about["config"] = {name: value for name, value in {**about["config"], **changes}.items() if value is not None}
    (folder / STATE).write_text(json.dumps(about))


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"learning_rate": 1e-3}, "learning_rate was 0.01, is 0.001"),
        ({"batch_size": 1}, "samples per step was 2, is 1"),
        ({"drop": Drop(0.5, 0.1, 0.1)}, "drop.image was 0.1, is 0.5"),
        ({"stages": (Stage("frame", 4),)}, "the way to step 2 was 2 steps at clip level, is 2 steps at frame level"),
        ({"identity": replace(SIZES, heads=4)}, "identity.heads was 2, is 4"),
        ({"identity": replace(SIZES, queries=5)}, "identity.queries was 3, is 5"),
        ({"audio": AudioSizes(32)}, "audio.projected was 16, is 32"),
        ({"motion": MotionSizes(32)}, "motion.hidden was 16, is 32"),
        ({"init": Path("other.safetensors")}, "init was None, is other.safetensors"),
        ({"validation_samples": 2}, "validation_samples was 0, is 2"),
    ],
)
def test_another_runs_settings_are_named_and_refused(settings, changes, said):
    message = refusal(replace(settings, **changes))
    assert "belongs to another run" in message and said in message and "choose another output" in message


def test_the_same_samples_per_step_may_be_shared_out_anew(settings):
    one = State.of(settings, 6, processes=2, cache="c")
    one.check_same_run(State.of(replace(settings, batch_size=1, accumulation=2), 6, processes=2, cache="c"), Path("run"))


def test_a_checkpoint_from_before_there_was_a_setting_has_its_default(settings, last):
    edit(last, text_rows=None, drop={"image": 0.1, "speech": 0.1}, identity=None)
    assert "text_rows was 512, is 8" in refusal(replace(settings, text_rows=8))
    edit(last, identity={"queries": 3, "resampler": 16, "depth": 1, "heads": 2, "inner": 16, "projected": 16})
    assert len(run(settings)) == 2  # drop.text is 0.1 by default


@pytest.mark.parametrize("samples", [training.MANY], ids=str)
def test_a_run_from_before_the_validation_keeps_its_order_and_one_with_it_its_samples(tmp_path, samples):
    """Of a cache of this size, a new run holds some out; a state without the setting says that none were."""
    folder = training.write_cache(tmp_path / "cache", *(training.sample(seed) for seed in range(samples)))
    settings = training.config(tmp_path / "dit.safetensors", folder, tmp_path / "run", stages=(Stage("clip", 4),))
    two = replace(settings, stages=(Stage("clip", 2),))
    before, after = (replace(settings, output=tmp_path / name) for name in ("before", "after"))
    everything = run(replace(before, validation_samples=0, output=tmp_path / "whole"))
    assert run(replace(two, output=before.output, validation_samples=0)) == everything[:2]
    edit(checkpoints.all_of(before.output)[-1], validation_samples=None, validation_every=None)
    assert run(before) == everything[2:]
    held = run(replace(settings, output=tmp_path / "held"))
    assert held != everything
    run(replace(two, output=after.output))
    assert run(after) == held[2:]


def test_a_run_goes_on_when_the_file_that_it_began_with_is_gone(settings, tmp_path):
    """Its parts keep their own sizes, which are not those of the settings."""
    init = tmp_path / "init.safetensors"
    before = checkpoints.all_of(settings.output)[-1] / checkpoints.ADAPTER
    init.write_bytes(before.read_bytes())
    again = replace(settings, output=tmp_path / "again", init=init, identity=replace(SIZES, queries=7), audio=AudioSizes(8))
    unbroken = run(replace(again, output=tmp_path / "unbroken"))
    run(replace(again, stages=(Stage("clip", 2),)))
    init.unlink()
    assert run(again) == unbroken[2:]
    assert read_adapter(checkpoints.all_of(again.output)[-1] / checkpoints.ADAPTER).identity.queries == 3


def test_a_run_that_is_to_begin_needs_the_file(settings, tmp_path):
    assert "There is no adapter file" in refusal(replace(settings, output=tmp_path / "new", init=tmp_path / "absent"))


def with_nan(path: Path) -> None:
    weights = load_file(path)
    save_file({key: value * torch.nan for key, value in weights.items()}, path, read_adapter(path).metadata)


def of_other_sizes(path: Path) -> None:
    file = read_adapter(path)
    save_file(dict(file.weights), path, {**file.metadata, "identity_heads": "4"})


def audio_alone(path: Path) -> None:
    weights = {key: value for key, value in load_file(path).items() if key.startswith("audio.")}
    save_file(weights, path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def edited_optimizer(change: Callable[[dict], Any]) -> Callable[[Path], None]:
    def edited(path: Path) -> None:
        torch.save(change(torch.load(path, weights_only=True)), path)

    return edited


def moments(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    return edited_optimizer(
        lambda found: {
            **found,
            "state": {key: {**value, "exp_avg": change(value["exp_avg"])} for key, value in found["state"].items()},
        }
    )


def edited_state(**changes: Any) -> Callable[[Path], None]:
    def edited(path: Path) -> None:
        about = json.loads(path.read_text())
        config = {**about["config"], **changes.pop("config", {})}
        path.write_text(json.dumps({**about, "config": config, **changes}))

    return edited


@pytest.mark.parametrize(
    "name, damage",
    [
        (checkpoints.ADAPTER, Path.unlink),
        (checkpoints.ADAPTER, cut),
        (checkpoints.ADAPTER, with_nan),
        (checkpoints.ADAPTER, of_other_sizes),
        (checkpoints.ADAPTER, audio_alone),
        (checkpoints.OPTIMIZER, Path.unlink),
        (checkpoints.OPTIMIZER, cut),
        (checkpoints.OPTIMIZER, folder_instead),
        (checkpoints.OPTIMIZER, edited_optimizer(lambda found: [1])),
        (checkpoints.OPTIMIZER, edited_optimizer(lambda found: {})),
        (checkpoints.OPTIMIZER, edited_optimizer(lambda found: {**found, "state": {}})),
        (checkpoints.OPTIMIZER, moments(lambda moment: torch.zeros(3))),
        (checkpoints.OPTIMIZER, moments(lambda moment: moment * torch.nan)),
        (STATE, cut),
        (STATE, folder_instead),
        (STATE, lambda path: path.write_text("[" * 100_000)),
        (STATE, lambda path: path.write_text("[1]")),
        (STATE, edited_state(step="x")),
        (STATE, edited_state(step=-1)),
        (STATE, edited_state(step=1.5)),
        (STATE, edited_state(step=10**9)),
        (STATE, edited_state(samples_per_step=None)),
        (STATE, edited_state(cache=3)),
        (STATE, edited_state(more=1)),
        (STATE, edited_state(config={"stages": None})),
        (STATE, edited_state(config={"stages": ["x"]})),
        (STATE, edited_state(config={"model": 3})),
        (STATE, edited_state(config={"init": 3})),
        (STATE, edited_state(config={"drop": None})),
    ],
)
def test_what_was_edited_or_damaged_is_named_with_the_way_out(settings, last, name, damage):
    damage(last / name)
    message = refusal(settings)
    assert f"'{last / name}' is damaged" in message and "to go on from the checkpoint before it" in message


def test_a_checkpoint_without_a_state_is_none_and_a_newer_one_needs_a_newer_pack(settings, last):
    (last / STATE).write_text(json.dumps({"version": 99}))
    assert "is a checkpoint of version 99, this pack reads version 1: update the pack" in refusal(settings)
    (last / STATE).unlink()
    assert "is no checkpoint: expected a folder step_…" in refusal(settings)


def test_files_between_the_checkpoints_change_nothing(settings, last):
    (last.parent / "step_00000099").write_text("x")
    (last.parent / "step_00000004.part").write_text("x")
    assert len(run(settings)) == 2


def test_rate_and_decay_are_those_of_the_run_and_not_of_the_file(settings, last, tmp_path):
    unbroken = run(replace(settings, output=tmp_path / "unbroken"))
    stored = torch.load(last / checkpoints.OPTIMIZER, weights_only=True)
    stored["param_groups"][0] |= {"weight_decay": 0.9, "betas": (0.0, 0.0)}
    torch.save(stored, last / checkpoints.OPTIMIZER)
    assert run(settings) == unbroken[2:]


def test_another_dit_under_the_same_name_is_refused(settings, last):
    class Wider(FakeDit):
        width = 32

    with pytest.raises(FantasyTalkingError, match="for a DiT of 2 blocks of width 16, the model has 2 of width 32: set model"):
        Trainer(settings, Wider())


def test_other_ranges_of_motion_are_another_cache(settings, last):
    path = settings.cache / "index.json"
    about = json.loads(path.read_text())
    about["ranges"]["body"] = [0.0, 0.5]
    path.write_text(json.dumps(about))
    message = refusal(settings)
    assert "the cache's ranges of motion were" in message and MotionRanges.of(about["ranges"]).to_json() in message


def test_a_damaged_checkpoint_is_not_exported(settings, last, tmp_path):
    with_nan(last / checkpoints.ADAPTER)
    with pytest.raises(FantasyTalkingError, match="is damaged .*holds NaN.*: remove the folder"):
        export(settings.output, tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()
