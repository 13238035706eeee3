"""From checkpoints to files that the nodes and other programs load."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from fantasytalking_core.adapter.file import read_adapter
from fantasytalking_core.commands import export as command
from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.export import export
from fantasytalking_core.training.run import checkpoints
from support import runs, training
from support.training import LATENT_FRAMES


@pytest.fixture(scope="module")
def run_folder(host, tmp_path_factory):
    """A finished run of two clip and one frame steps."""
    folder = tmp_path_factory.mktemp("export")
    training.write_dit(folder / "dit.safetensors")
    cache = training.write_cache(folder / "cache", *(training.sample(seed) for seed in range(3)))
    stages = (training.Stage("clip", 2), training.Stage("frame", 1))
    training.train(training.config(folder / "dit.safetensors", cache, folder / "run", stages=stages))
    return folder / "run"


@pytest.fixture
def exported(run_folder, tmp_path):
    assert command.main([str(run_folder), str(tmp_path / "a.safetensors"), "--public", str(tmp_path / "p.safetensors")]) == 0
    return tmp_path


def test_the_file_holds_the_last_checkpoints_weights(run_folder, exported):
    last = load_file(run_folder / "checkpoints" / "step_00000003" / "adapter.safetensors")
    found = read_adapter(exported / "a.safetensors")
    assert found.parts == ("audio", "identity", "motion")
    assert found.weights.keys() == last.keys() and all(torch.equal(found.weights[key], last[key]) for key in last)


def test_the_file_says_what_it_was_trained_on(exported):
    metadata = read_adapter(exported / "a.safetensors").metadata
    assert json.loads(metadata["stages"]) == [{"name": "clip", "steps": 2}, {"name": "frame", "steps": 1}]
    assert metadata["steps"] == "3" and metadata["trained_on"] == "dit.safetensors" and metadata["identity_heads"] == "2"
    assert json.loads(metadata["motion_ranges"]) == {"expression": [0.0, 0.001], "body": [0.0, 0.02], "map": "linear"}
    assert json.loads(metadata["data"]) == {
        "samples": 3,
        "held_out": 0,
        "frames": 17,
        "fps": 23.0,
        "width": 32,
        "height": 32,
        "encoders": {"vae": "tiny"},
        "made": {"placement": "middle", "cuts": "kept", "interlaced": "kept", "sound": "best", "motion": "linear"},
    }


def test_an_earlier_checkpoint_can_be_exported(run_folder, tmp_path):
    line = export(run_folder / "checkpoints" / "step_00000002", tmp_path / "a.safetensors")
    assert line.endswith("audio, identity, motion; 2 steps at clip level")
    assert json.loads(read_adapter(tmp_path / "a.safetensors").metadata["stages"]) == [{"name": "clip", "steps": 2}]


def test_the_public_file_has_the_communitys_names_and_the_audio_weights(exported):
    stored, ours = load_file(exported / "p.safetensors"), read_adapter(exported / "a.safetensors").weights
    blocks = {f"blocks.{n}.cross_attn.{kind}_proj.weight" for n in (0, 1) for kind in "kv"}
    assert stored.keys() == {"proj_model.proj.weight", "proj_model.norm.weight", "proj_model.norm.bias"} | blocks
    read = read_adapter(exported / "p.safetensors")
    assert read.parts == ("audio",) and all(torch.equal(ours[key], value) for key, value in read.weights.items())


def test_weights_can_be_stored_in_half_the_size(run_folder, tmp_path):
    assert command.main([str(run_folder), str(tmp_path / "a.safetensors"), "--dtype", "bf16"]) == 0
    assert {value.dtype for value in read_adapter(tmp_path / "a.safetensors").weights.values()} == {torch.bfloat16}


def test_the_exported_file_starts_another_run(run_folder, exported):
    settings = training.config(
        run_folder.parent / "dit.safetensors",
        run_folder.parent / "cache",
        exported / "again",
        init=exported / "a.safetensors",
        learning_rate=1e-12,
        warmup_steps=0,
        weight_decay=0.0,
        stages=(training.Stage("frame", 1),),
    )
    training.train(settings)
    ours, theirs = (
        load_file(checkpoints.all_of(folder)[-1] / "adapter.safetensors") for folder in (settings.output, run_folder)
    )
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-7) for key in theirs)
    with pytest.raises(FantasyTalkingError, match="holds identity, which parts leaves out: add it to parts"):
        training.train(replace(settings, parts=("audio", "motion"), output=exported / "third"))
    with pytest.raises(
        FantasyTalkingError, match="is an adapter for a DiT of 2 blocks of width 48, the model has 1 of width 96"
    ):
        training.write_dit(exported / "other.safetensors", dim=96, layers=1)
        training.train(replace(settings, model=str(exported / "other.safetensors"), output=exported / "fourth"))


def test_the_published_audio_weights_start_a_run_with_new_identity_and_motion(run_folder, exported):
    settings = training.config(
        run_folder.parent / "dit.safetensors",
        run_folder.parent / "cache",
        exported / "again",
        init=exported / "p.safetensors",
        learning_rate=1e-12,
        warmup_steps=0,
        weight_decay=0.0,
        stages=(training.Stage("frame", 1),),
    )
    training.train(settings)
    found, public = (
        read_adapter(checkpoints.all_of(settings.output)[-1] / "adapter.safetensors"),
        read_adapter(exported / "p.safetensors"),
    )
    assert found.parts == ("audio", "identity", "motion")
    assert all(torch.allclose(found.weights[key], value, atol=1e-7) for key, value in public.weights.items())


@pytest.mark.parametrize("file", ["a.safetensors", "p.safetensors"])
def test_the_exported_file_samples_through_the_nodes(run, host, models, run_folder, exported, file):
    (models / "fantasytalking" / file).write_bytes((exported / file).read_bytes())
    training.write_dit(models / "diffusion_models" / "train.safetensors")
    model = run("UNETLoader", unet_name="train.safetensors", weight_dtype="default")[0]
    adapter = run("FantasyTalkingAdapterLoader", adapter_name=file)[0]
    sample = training.sample(0)
    import comfy.clip_vision

    clip = comfy.clip_vision.Output()
    clip["penultimate_hidden_states"] = sample.clip[None]
    about = {
        "concat_latent_image": sample.image[None],
        "concat_mask": torch.ones(1, 1, LATENT_FRAMES, 4, 4),
        "clip_vision_output": clip,
    }
    speech = host.core("speech.speech").Speech(sample.speech, training.FRAMES, training.FPS)
    text = [[sample.text[None], about]]
    latent = {"samples": torch.zeros_like(sample.latents)[None]}
    with_, without = (
        runs.sample(run, runs.apply(run, model, adapter, strength), *runs.hear(run, text, text, speech), latent)
        for strength in (1.0, 0.0)
    )
    assert with_.shape == latent["samples"].shape and with_.isfinite().all() and not torch.equal(with_, without)


def test_what_is_wrong_is_explained(run_folder, tmp_path, capsys):
    (tmp_path / "there.safetensors").touch()
    for arguments, said in (
        ([tmp_path, tmp_path / "a.safetensors"], "holds no checkpoint"),
        ([run_folder, tmp_path / "a.pt"], "ends in .safetensors"),
        ([run_folder, tmp_path / "there.safetensors"], "exists already"),
        ([run_folder, tmp_path / "absent" / "a.safetensors"], "There is no folder"),
    ):
        with pytest.raises(SystemExit) as end:
            command.main(list(map(str, arguments)))
        assert end.value.code == 1 and said in capsys.readouterr().err
