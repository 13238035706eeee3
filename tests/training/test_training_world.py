"""A small talking world from videos to a talking latent: prepare, both stages, export, the nodes.

Frozen encoders with random weights see no mouths and hear no loudness (measured: they explain 1 % of how the lips'
latents move), so two of them are functions here: each cell's mean colour for the VAE, loudness for Wav2Vec2. The DiT is
the host's with random weights; all that follows the speech is the adapter's.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import einsum, reduce

from fantasytalking_core.training import export
from fantasytalking_core.training.data.encoders import Encoders
from fantasytalking_core.training.data.prepare import PrepareSettings, prepare
from fantasytalking_core.training.data.sample import Sample
from fantasytalking_core.training.run.config import Stage
from fantasytalking_core.training.run.dataset import Dataset, collate
from support import runs, training, world
from support.reference import normalised

MARGIN, MARGIN_UNSEEN = 0.06, 0.03
"""By how much less the lips' loss is with the right speech, as a part of that with the wrong one. Measured: 0.097, 0.063."""
SETTINGS = PrepareSettings(frames=33, fps=23.0, width=64, height=64)
STAGES = (Stage("clip", 40), Stage("frame", 400))
RANDOM = torch.Generator().manual_seed(11)
COLOURS, VOICE = torch.randn(3, 16, generator=RANDOM), torch.randn(2, training.AUDIO, generator=RANDOM)


def latents(frames: torch.Tensor) -> torch.Tensor:
    """`[16, T, h, w]`: mixtures of the mean colour of every 8 × 8 pixels and 4 frames, the first frame alone."""
    cells = reduce(frames, "f (h y) (w x) c -> f h w c", "mean", y=8, x=8)
    later = reduce(cells[1:], "(t four) h w c -> t h w c", "mean", four=4)
    return einsum(4 * (torch.cat([cells[:1], later]) - 0.5), COLOURS, "t h w c, c d -> d t h w")


def tokens(speech: torch.Tensor) -> torch.Tensor:
    """`[L, AUDIO]`: the loudness of every 20 ms, and a constant."""
    loudness = reduce(speech[: len(speech) // 320 * 320].abs(), "(l n) -> l", "mean", n=320)
    return torch.stack([5 * loudness, torch.ones_like(loudness)], 1) @ VOICE


@dataclass
class Trained:
    folder: Path
    settings: Any
    trainer: Any
    losses: list[dict[str, float]]


@pytest.fixture(scope="module")
def trained(host, tmp_path_factory) -> Trained:
    from fantasytalking_core.commands.run import trainer_of

    folder = tmp_path_factory.mktemp("world")
    for name, count, seed in (("seen", 13, 0), ("unseen", 4, 1)):
        world.make_videos(folder / f"{name}_videos", count, seed, seconds=3.0, text_dim=training.TEXT)
        index = prepare(folder / f"{name}_videos", folder / name, SETTINGS, Encoders(latents, tokens))
        for entry in index.samples:  # 257 image tokens would take half of the time
            sample = Sample.load(folder / name / entry.file)
            replace(sample, clip=sample.clip[:16]).save(folder / name / entry.file)
    training.write_dit(folder / "dit.safetensors", dim=96, layers=1)
    settings = training.config(
        folder / "dit.safetensors",
        folder / "seen",
        folder / "run",
        stages=STAGES,
        batch_size=8,
        learning_rate=0.01,
        warmup_steps=20,
        checkpoint_every=1000,
        log_every=1000,
        gradient_checkpointing=False,
    )
    trainer, losses, threads = trainer_of(settings), [], torch.get_num_threads()
    torch.set_num_threads(1)  # more are no faster with tensors as small as these
    trainer.run(lambda step, values: losses.append(values))
    torch.set_num_threads(threads)
    return Trained(folder, settings, trainer, losses)


def lips_loss(trained: Trained, cache: str, shifted: bool) -> float:
    """Of 48 samples with noise that was not trained on, nothing dropped; their speech shifted by half the clip or not."""
    dataset = Dataset(replace(trained.settings, cache=trained.folder / cache, drop=training.NOTHING_DROPPED))
    batch = collate([dataset[1_000_000 + number] for number in range(48)])
    if shifted:
        batch = batch._replace(speech=batch.speech.roll(batch.speech.shape[1] // 2, 1))
    with torch.no_grad(), trained.trainer.dit.gradients():
        return trained.trainer.step(batch, "frame").lips.mean().item()


def mean(losses: list[dict[str, float]], name: str) -> float:
    return sum(values[name] for values in losses) / len(losses)


def test_the_loss_falls_in_both_stages(trained):
    clip, frame = trained.losses[: STAGES[0].steps], trained.losses[STAGES[0].steps :]
    assert mean(clip[-10:], "whole") < 0.9 * mean(clip[:10], "whole")
    assert mean(frame[-40:], "lips") < 0.8 * mean(frame[:10], "lips")


def test_the_right_speech_has_the_smaller_loss_at_the_lips(trained):
    right, wrong = (lips_loss(trained, "seen", shifted) for shifted in (False, True))
    assert right < (1 - MARGIN) * wrong


def test_so_it_has_with_voices_that_were_not_trained_on(trained):
    right, wrong = (lips_loss(trained, "unseen", shifted) for shifted in (False, True))
    assert right < (1 - MARGIN_UNSEEN) * wrong


def test_the_exported_file_speaks_through_the_nodes(trained, host, run, models):
    """Sampled with its own speech, a clip's mouth comes nearer to what it was than with the speech shifted by half."""
    export.export(trained.folder / "run", models / "fantasytalking" / "world.safetensors")
    training.write_dit(models / "diffusion_models" / "world.safetensors", dim=96, layers=1)
    model = run("UNETLoader", unet_name="world.safetensors", weight_dtype="default")[0]
    adapter = run("FantasyTalkingAdapterLoader", adapter_name="world.safetensors")[0]
    model = runs.apply(run, model, adapter)
    sample = Dataset(trained.settings).sample(0)
    import comfy.clip_vision
    import comfy.latent_formats

    clip, mask = comfy.clip_vision.Output(), torch.ones(1, 1, *sample.latents.shape[1:])
    clip["penultimate_hidden_states"], mask[:, :, 0] = sample.clip[None].float(), 0
    about = {
        "concat_latent_image": comfy.latent_formats.Wan21().process_out(sample.image[None].float()),
        "concat_mask": mask,
        "clip_vision_output": clip,
    }
    text = [[torch.nn.functional.pad(sample.text.float(), (0, 0, 0, 512 - len(sample.text)))[None], about]]
    identity = host.core("adapter.identity").FaceEmbedding(sample.face.float())
    motion = run("FantasyTalkingMotionIntensity", expression=0.5, body=0.5)[0]
    errors = []
    for heard in (sample.speech.float(), sample.speech.float().roll(len(sample.speech) // 2, 0)):
        speech = host.core("speech.speech").Speech(heard, SETTINGS.frames, SETTINGS.fps)
        conditioning = run(
            "FantasyTalkingConditioning", positive=text, negative=text, speech=speech, identity=identity, motion=motion
        )
        latent = {"samples": torch.zeros(1, *sample.latents.shape)}
        sampled = runs.sample(run, model, *conditioning, latent, steps=4, text_cfg=1.0, audio_cfg=1.0)
        error = (normalised({"samples": sampled})[0] - sample.latents.float()) ** 2
        errors.append(((error.mean(0) * sample.lips.float()).sum() / sample.lips.float().sum()).item())
    assert errors[0] < 0.9 * errors[1]  # measured: 2.5 and 3.5
