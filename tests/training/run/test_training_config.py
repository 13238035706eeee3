"""The YAML file of a training run."""

from pathlib import Path

import pytest

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.run.config import Drop, Stage, read_config

NEEDED = "model: wan.safetensors\ncache: cache\noutput: run\n"


def read(tmp_path: Path, text: str):
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8")
    return read_config(file)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(FantasyTalkingError) as error:
        read(tmp_path, text)
    return str(error.value)


def test_what_is_left_out_is_as_in_the_paper(tmp_path):
    config = read(tmp_path, NEEDED)
    assert config.stages == (Stage("clip", 80_000), Stage("frame", 20_000))
    assert (config.learning_rate, config.eta, config.shift, config.drop) == (1e-4, 0.2, 5.0, Drop(0.1, 0.1, 0.1))
    assert config.parts == ("audio", "identity", "motion") and config.dtype == "bf16" and config.text_rows == 512


def test_everything_can_be_set(tmp_path):
    config = read(
        tmp_path,
        NEEDED + "stages: [{name: frame, steps: 7}]\nlearning_rate: 1e-5\ndrop: {text: 0.5}\nidentity: {queries: 4}\nvae: x\n",
    )
    assert config.stages == (Stage("frame", 7),) and config.learning_rate == 1e-5
    assert config.drop == Drop(0.1, 0.1, 0.5) and config.identity.queries == 4 and config.vae == "x"


def test_relative_paths_begin_at_the_files_folder_and_names_stay_names(tmp_path):
    (tmp_path / "near.safetensors").touch()
    config = read(tmp_path, NEEDED + "init: a.safetensors\nvae: near.safetensors\n")
    assert (
        config.cache == tmp_path / "cache" and config.output == tmp_path / "run" and config.init == tmp_path / "a.safetensors"
    )
    assert config.model == "wan.safetensors" and config.vae == str(tmp_path / "near.safetensors")


@pytest.mark.parametrize(
    "line, expected",
    [
        ("leraning_rate: 1", "leraning_rate is no setting; did you mean learning_rate?"),
        ("drop: {speach: 0.1}", "drop.speach is no setting; did you mean drop.speech?"),
        ("stages: [{name: both, steps: 1}]", "stages[0].name is 'both', expected one of clip, frame."),
        ("stages: [{name: clip}]", "stages[0].steps is missing."),
        ("stages: []", "stages is 'empty', expected one stage at least."),
        ("batch_size: two", "batch_size is 'two', expected a whole number."),
        ("batch_size: 0", "batch_size is 0, expected 1 or more."),
        ("text_rows: 0", "text_rows is 0, expected 1 or more."),
        ("batch_size: true", "batch_size is True, expected a whole number."),
        ("learning_rate: fast", "learning_rate is 'fast', expected a number."),
        ("eta: 2", "eta is 2.0, expected a probability from 0 to 1."),
        ("gradient_checkpointing: 1", "gradient_checkpointing is 1, expected true or false."),
        ("stages: clip", "stages is 'clip', expected a list."),
        ("parts: [identity]", "parts is ['identity'], expected audio among them."),
        ("drop: 0.1", "drop is 0.1, expected keys and values (image, speech, text …)."),
    ],
)
def test_what_is_wrong_is_named(tmp_path, line, expected):
    message = refusal(tmp_path, f"{NEEDED}{line}\n")
    assert message == f"'{tmp_path / 'run.yaml'}': {expected}"


def test_a_missing_key_a_missing_file_and_no_yaml_are_explained(tmp_path):
    assert refusal(tmp_path, "cache: c\noutput: o\n").endswith("model is missing.")
    assert "can't be read as YAML" in refusal(tmp_path, "a: [")
    assert "expected keys and values" in refusal(tmp_path, "")
    with pytest.raises(FantasyTalkingError, match="There is no file"):
        read_config(tmp_path / "absent.yaml")


def test_steps_belong_to_the_stages_one_after_the_other(tmp_path):
    config = read(tmp_path, NEEDED + "stages: [{name: clip, steps: 3}, {name: frame, steps: 2}]\n")
    assert [config.stage_at(step) for step in range(6)] == [0, 0, 0, 1, 1, 1] and config.steps == 5
