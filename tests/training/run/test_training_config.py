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
        ("batch_size: 0", "batch_size is 0, expected 1 to 10000."),
        ("text_rows: 1000000", "text_rows is 1000000, expected 1 to 8192."),
        ("seed: 99999999999999999999", "seed is 99999999999999999999, expected 0 to 9.22337e+18."),
        ("stages: [{name: clip, steps: 0}]", "stages[0].steps is 0, expected 1 to 1e+09."),
        ("learning_rate: .inf", "learning_rate is inf, expected more than 0 and at most 1."),
        ("learning_rate: 0", "learning_rate is 0.0, expected more than 0 and at most 1."),
        ("weight_decay: nan", "weight_decay is nan, expected 0 to 10."),
        (f"eta: {10**400}", f"eta is {'1' + '0' * 17}...{'0' * 19}, expected a number."),
        ("shift: 1e-300", "shift is 1e-300, expected 0.01 to 100."),
        ("drop: {image: .nan}", "drop.image is nan, expected 0 to 1."),
        ("audio: {projected: 0}", "audio.projected is 0, expected 1 to 16384."),
        ("identity: {heads: 7}", "identity.heads is 7, expected a divisor of identity.inner, 1280."),
        ("identity: {depth: 0}", "identity.depth is 0, expected 1 to 64."),
        ("motion: {hidden: -1}", "motion.hidden is -1, expected 1 to 16384."),
        ("dtype: fp16", "dtype is 'fp16', expected one of bf16, fp32; fp16 has no room for small gradients."),
        (
            "parts: [audio, audio]",
            "parts is ['audio', 'audio'], expected one at least of audio, identity, motion, and each once.",
        ),
        ("parts: []", "parts is [], expected one at least of audio, identity, motion, and each once."),
        (
            "parts: [identity, motion]",
            "parts leaves audio out, which then stays as it is in init, and init is not set: set it to an adapter file with "
            "trained audio weights, or add audio to parts.",
        ),
        ("weight_dtype: fp8", "weight_dtype is 'fp8', expected one of default, fp8_e4m3fn."),
        (
            "weight_dtype: fp8_e4m3fn\ngradient_checkpointing: false",
            "weight_dtype is fp8_e4m3fn and gradient_checkpointing false: the backward pass would keep all of the DiT's weights "
            "in bf16 beside it. Set gradient_checkpointing to true, or leave weight_dtype out.",
        ),
        ("optimizer: sgd", "optimizer is 'sgd', expected one of adamw, adamw8bit."),
        (
            "validation_samples: 1",
            "validation_samples is 1, expected 0, or 2 or more: each also hears the speech of another one.",
        ),
        (f"vae: {'x' * 5000}", f"vae is '{'x' * 79}…', expected a name or path of at most 1000 characters."),
        ('cache: "a\\0"', "cache is 'a\0', expected a name or path of at most 1000 characters."),
        ("batch_size: true", "batch_size is True, expected a whole number."),
        ("learning_rate: fast", "learning_rate is 'fast', expected a number."),
        ("eta: 2", "eta is 2.0, expected 0 to 1."),
        ("gradient_checkpointing: 1", "gradient_checkpointing is 1, expected true or false."),
        ("stages: clip", "stages is 'clip', expected a list."),
        ("drop: 0.1", "drop is 0.1, expected keys and values (image, speech, text …)."),
    ],
)
def test_what_is_wrong_is_named(tmp_path, line, expected):
    needed = "".join(each + "\n" for each in NEEDED.splitlines() if each.split(":")[0] != line.split(":")[0])
    message = refusal(tmp_path, f"{needed}{line}\n")
    assert message == f"'{tmp_path / 'run.yaml'}': {expected}"


def test_a_missing_key_a_missing_file_and_no_yaml_are_explained(tmp_path):
    assert refusal(tmp_path, "cache: c\noutput: o\n").endswith("model is missing.")
    assert "can't be read as YAML" in refusal(tmp_path, "a: [")
    assert "expected keys and values" in refusal(tmp_path, "")
    for absent in ("absent.yaml", "x" * 5000):
        with pytest.raises(FantasyTalkingError, match="There is no file"):
            read_config(tmp_path / absent)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    "text, said",
    [
        (BOMB, "line 2: *a stands for something else: write it out."),
        ("&a {model: *a}", "line 1: *a stands for something else: write it out."),
        (f"model: {'[' * 5000}{']' * 5000}", "line 1: more than 20 lists and keys are in each other."),
        (f"{NEEDED}seed: 1\nseed: 2", "line 5: 'seed' is there twice: leave one."),
        (f"{NEEDED}drop: {{image: 0, image: 1}}", "line 4: 'image' is there twice: leave one."),
        ("model: !!python/object/apply:os.system [ls]", "line 1: could not determine a constructor for the tag"),
        (f"model: {'1' * 5000}", "Exceeds the limit"),
        ("model: !!bool x", "'x'."),
        ("a: [", "line 1: expected the node content"),
    ],
    ids=lambda value: value[:20],
)
def test_yaml_that_stands_for_more_than_it_says_is_refused_with_its_line(tmp_path, text, said):
    message = refusal(tmp_path, text)
    assert message.startswith(f"'{tmp_path / 'run.yaml'}' can't be read as YAML: {said}") and len(message) < 400


def test_a_file_that_no_person_has_written_is_not_read_at_all(tmp_path):
    assert refusal(tmp_path, "# " + "x" * 2**16).endswith("is longer than 65536 bytes: expected a YAML file of some lines.")


def test_no_message_repeats_more_than_a_line_of_what_it_was_given(tmp_path):
    for line in (f"stages: {'x' * 60_000}", f"parts: [{', '.join(['audio'] * 5000)}]", f"{'x' * 1000}: 1"):
        assert len(refusal(tmp_path, f"{NEEDED}{line}\n")) < len(str(tmp_path)) + 250


def test_steps_belong_to_the_stages_one_after_the_other(tmp_path):
    config = read(tmp_path, NEEDED + "stages: [{name: clip, steps: 3}, {name: frame, steps: 2}]\n")
    assert [config.stage_at(step) for step in range(6)] == [0, 0, 0, 1, 1, 1] and config.steps == 5
