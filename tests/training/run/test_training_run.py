"""A run beside its losses: frozen weights, logs, samples, refusals."""

import logging
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.run.config import Stage
from support import training


@pytest.fixture(scope="module")
def folder(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    training.write_dit(folder / "dit.safetensors")
    training.write_cache(folder / "cache", *(training.sample(seed) for seed in range(3)))
    return folder


@pytest.fixture
def settings(folder, tmp_path):
    return training.config(folder / "dit.safetensors", folder / "cache", tmp_path / "run", keep=1, checkpoint_every=100)


def trainer(settings):
    from fantasytalking_core.commands.run import trainer_of

    return trainer_of(settings)


def test_the_dits_weights_stay_as_they_were_to_the_bit(settings, folder):
    run = trainer(settings)
    before = {name: value.clone() for name, value in run.dit.dit.state_dict().items()}
    run.run()
    assert before.keys() == load_file(folder / "dit.safetensors").keys()
    assert all(torch.equal(value, before[name]) for name, value in run.dit.dit.state_dict().items())


def test_the_host_is_in_training_only_while_it_trains(settings):
    import comfy.model_management

    run, seen = trainer(settings), []
    real = run.step.forward
    run.step.forward = lambda *args: seen.append(comfy.model_management.in_training) or real(*args)
    run.run()
    assert seen == [True] * 6 and comfy.model_management.in_training is False


def test_the_host_is_out_of_training_after_an_error(settings):
    import comfy.model_management

    run = trainer(settings)
    run.step.forward = lambda *args: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run.run()
    assert comfy.model_management.in_training is False


def test_the_rate_rises_through_the_warm_up_and_stays(settings):
    found = training.train(replace(settings, warmup_steps=4))
    assert [values["learning_rate"] for values in found] == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])


def test_gradients_are_clipped(settings):
    """AdamW divides by the gradient's size, so that the moments tell: the first one is a tenth of the gradient."""
    run = trainer(replace(settings, max_grad_norm=1e-3, stages=(Stage("clip", 1),)))
    found = []
    run.run(lambda step, values: found.append(values["gradient_norm"]))
    moments = torch.cat([state["exp_avg"].flatten() for state in run.optimizer.state.values()])
    assert found[0] > 0.1 and moments.norm().item() == pytest.approx(1e-4, rel=1e-3)


def test_the_logs_are_tensorboards(settings):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = training.train(settings)
    log = EventAccumulator(str(settings.output / "logs"))
    log.Reload()
    assert {"loss", "whole", "lips", "gradient_norm", "learning_rate", "seconds_per_step"} <= set(log.Tags()["scalars"])
    assert [event.value for event in log.Scalars("loss")] == pytest.approx([values["loss"] for values in found])
    assert [event.step for event in log.Scalars("loss")] == [1, 2, 3, 4, 5, 6]


def test_samples_are_written_and_change_nothing_of_the_training(settings, tmp_path):
    plain = training.train(settings)
    sampled = replace(settings, output=tmp_path / "sampled", sample_every=3, sample_steps=2)
    assert [values["loss"] for values in training.train(sampled)] == [values["loss"] for values in plain]
    files = sorted((tmp_path / "sampled" / "samples").iterdir())
    assert [file.name for file in files] == ["step_00000003.latent", "step_00000006.latent"]
    latents = [load_file(file)["latent_tensor"] for file in files]
    assert all(latent.shape == (1, 16, 5, 4, 4) and latent.isfinite().all() for latent in latents)
    assert not torch.equal(*latents)


def test_a_sample_is_that_of_the_exported_file_in_the_nodes(settings, run, models):
    """The last sample's latent, and LoadLatent, which reads it."""
    training.train(replace(settings, sample_every=6, sample_steps=2))
    (file,) = (settings.output / "samples").iterdir()
    target = models.parent / "input" / "train_sample.latent"
    target.write_bytes(file.read_bytes())
    try:
        loaded = run("LoadLatent", latent=target.name)[0]["samples"]
    finally:
        target.unlink()
    assert torch.equal(loaded, load_file(file)["latent_tensor"])


def test_with_a_vae_a_sample_is_a_video(settings, models):
    import av
    from safetensors.torch import save_file

    from support.random_family import wan_vae

    (models / "vae").mkdir(exist_ok=True)
    save_file(wan_vae(), models / "vae" / "tiny.safetensors")
    training.train(replace(settings, sample_every=6, sample_steps=1, vae=str(models / "vae" / "tiny.safetensors")))
    with av.open(str(settings.output / "samples" / "step_00000006.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, float(stream.average_rate)) == (32, 32, 23.0)
        assert sum(1 for _ in video.decode(stream)) == training.FRAMES


def test_a_sample_that_fails_is_said_and_the_training_goes_on(settings, monkeypatch, caplog):
    from fantasytalking_core.host import training_sample

    def fails(*args):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(training_sample, "sampled", fails)
    with caplog.at_level(logging.WARNING):
        assert len(training.train(replace(settings, sample_every=2))) == 6
    assert "the sample of step 4 failed" in caplog.text and "out of memory" in caplog.text
    assert not list((settings.output / "samples").iterdir())


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"text": torch.zeros(5, 64)}, "its prompts have 64 channels, expected 32"),
        ({"latents": torch.zeros(48, 5, 4, 4)}, "its latents have 48 channels, expected 16"),
        ({"image": torch.zeros(20, 5, 4, 4)}, "its image latents have 20 channels, expected 16"),
    ],
)
def test_a_cache_made_for_another_model_is_refused(settings, tmp_path, changes, said):
    cache = training.write_cache(tmp_path / "cache", training.sample(0, **changes))
    with pytest.raises(FantasyTalkingError, match="The cache was made for another model") as error:
        training.train(replace(settings, cache=cache))
    assert said in str(error.value) and "Run prepare" in str(error.value)


def test_a_cache_of_another_speech_encoder_than_inits_is_refused(settings, tmp_path):
    from fantasytalking_core.adapter.adapter import Adapter
    from fantasytalking_core.adapter.audio import AudioWidths
    from fantasytalking_core.adapter.file import save_adapter

    save_adapter(tmp_path / "init.safetensors", Adapter(AudioWidths(20, 16, 48, 2)).state_dict())
    with pytest.raises(FantasyTalkingError, match="its speech tokens have 12 channels, expected 20"):
        training.train(replace(settings, init=tmp_path / "init.safetensors"))


def test_a_model_that_is_missing_or_no_image_to_video_dit_is_refused(settings, tmp_path, host):
    with pytest.raises(FantasyTalkingError, match="There is no diffusion model 'absent.safetensors'.*reference_wan_i2v"):
        training.train(replace(settings, model="absent.safetensors"))
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "junk.safetensors")
    with pytest.raises(FantasyTalkingError, match="can't be loaded as a diffusion model"):
        training.train(replace(settings, model=str(tmp_path / "junk.safetensors")))


def test_a_sample_that_is_no_number_is_named(settings, tmp_path):
    spoiled = training.sample(0, latents=torch.full((16, 5, 4, 4), float("nan")))
    cache = training.write_cache(tmp_path / "cache", spoiled)
    with pytest.raises(FantasyTalkingError, match="000000.safetensors' .* holds NaN or infinite numbers in its latents"):
        training.train(replace(settings, cache=cache))
    assert not settings.output.exists()


@pytest.mark.parametrize("package, said", [("accelerate", "accelerate"), ("torch.utils.tensorboard", "TensorBoard")])
def test_a_package_that_is_missing_is_named_with_how_to_install_it(settings, monkeypatch, package, said):
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FantasyTalkingError, match=f"Training needs {said}.*python -m pip install accelerate tensorboard"):
        training.train(settings)


def test_the_command_leaves_the_other_processes_in_order(settings, monkeypatch):
    """A process that ends while it is still in a group may be aborted, and its launcher then says that training failed."""
    from fantasytalking_core.commands import run as command

    monkeypatch.setattr(command, "read_config", lambda path: settings)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        assert command.main(["run.yaml"]) == 0
        assert not torch.distributed.is_initialized()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
