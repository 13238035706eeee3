"""A training step on the host's DiT: the same model as in sampling, with gradients to the adapter alone."""

from dataclasses import replace

import pytest
import torch

from fantasytalking_core.adapter.file import save_adapter
from fantasytalking_core.speech.speaker import Speaker
from fantasytalking_core.training.run.config import Drop
from fantasytalking_core.training.run.dataset import Dataset, collate
from fantasytalking_core.training.run.new_adapter import adapter_of
from fantasytalking_core.training.run.standing import Standing
from fantasytalking_core.training.run.step import TrainingStep
from support import runs, training
from support.training import LATENT_FRAMES, NOTHING_DROPPED


@pytest.fixture(scope="module")
def world(host, tmp_path_factory):
    """A DiT's file, a cache and a configuration."""
    folder = tmp_path_factory.mktemp("training")
    training.write_dit(folder / "dit.safetensors")
    cache = training.write_cache(folder / "cache", *(training.sample(seed) for seed in range(4)))
    return training.config(folder / "dit.safetensors", cache, folder / "output", drop=NOTHING_DROPPED)


@pytest.fixture(scope="module")
def dit(world):
    from fantasytalking_core.host.training_dit import TrainingDit, load_dit

    dit = TrainingDit(load_dit(world.model, torch.float32))
    dit.place()
    return dit


def trained(world, dit, seed: int = 5):
    """An adapter of random weights, also where a new one has zeros."""
    adapter = adapter_of(Standing.of(world, 1), dit.width, dit.blocks)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in adapter.parameters():
            if not weight.any():
                weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return adapter


@pytest.fixture
def step(world, dit):
    return TrainingStep(trained(world, dit), dit)


def batch_of(config, *numbers: int):
    dataset = Dataset(config)
    return collate([dataset[number] for number in numbers])


def velocity(step, batch, level: str = "frame") -> torch.Tensor:
    from fantasytalking_core.host.training_dit import in_training
    from fantasytalking_core.training.run.objective import noised

    with torch.no_grad(), in_training():
        return step.dit.velocity(noised(batch.latents, batch.noise, batch.sigma), batch, step.added(batch, level))


def gradients(step, batch, level: str = "frame") -> dict[str, torch.Tensor]:
    from fantasytalking_core.host.training_dit import in_training

    step.zero_grad()
    with in_training():
        step(batch, level).loss.backward()
    return {name: weight.grad.clone() for name, weight in step.named_parameters()}


@pytest.mark.parametrize("level", ["clip", "frame"])
def test_training_predicts_what_the_nodes_predict(host, run, models, world, step, level):
    """The weights in a file, through the host's loader, conditioning, guider and sampler."""
    training.write_dit(models / "diffusion_models" / "train.safetensors")
    save_adapter(models / "fantasytalking" / "train.safetensors", step.adapter.state_dict(), step.adapter.metadata())
    model = run("UNETLoader", unet_name="train.safetensors", weight_dtype="default")[0]
    adapter = run("FantasyTalkingAdapterLoader", adapter_name="train.safetensors")[0]
    conditioning, batch = host.core("host.conditioning"), batch_of(world, 0)
    import comfy.clip_vision
    import comfy.latent_formats

    clip, mask = comfy.clip_vision.Output(), torch.ones(1, 1, LATENT_FRAMES, 4, 4)
    clip["penultimate_hidden_states"], mask[:, :, 0] = batch.clip, 0
    about = {
        "concat_latent_image": comfy.latent_formats.Wan21().process_out(batch.image),
        "concat_mask": mask,
        "clip_vision_output": clip,
    }
    speech = host.core("speech.speech").Speech(batch.speech[0], training.FRAMES, training.FPS)
    entries = {
        **conditioning.entries_of(Speaker(speech), clip_level=level == "clip"),
        **conditioning.entries_of_face(host.core("adapter.identity").FaceEmbedding(batch.face[0])),
        **conditioning.entries_of_motion(host.core("adapter.motion").Motion(*batch.motion[0].tolist())),
    }
    positive = conditioning.with_entries([[batch.text, about]], entries)
    guider = run(
        "FantasyTalkingGuider",
        model=runs.apply(run, model, adapter),
        positive=positive,
        negative=positive,
        text_cfg=1.0,
        audio_cfg=1.0,
        audio_start_percent=0.0,
        audio_end_percent=1.0,
    )[0]
    from fantasytalking_core.training.run.objective import noised

    x = noised(batch.latents, batch.noise, batch.sigma)
    sampled = runs.velocity(run, guider, x, batch.sigma.item(), {"samples": torch.zeros_like(batch.latents)})
    ours = velocity(step, batch, level)
    assert (ours - sampled).abs().max() < 2e-5 * ours.abs().max()


@pytest.mark.parametrize("level", ["clip", "frame"])
def test_every_row_of_a_batch_has_its_own_speech_face_and_motion(world, step, level):
    together = velocity(step, batch_of(world, 0, 1, 2), level)
    for row in range(3):
        assert torch.allclose(together[row], velocity(step, batch_of(world, row), level)[0], atol=1e-5)


def test_rows_of_different_lengths_hear_the_whole_clip_and_no_padding(tmp_path, world, dit):
    samples = [training.sample(0), training.sample(1, speech=torch.randn(30, training.AUDIO))]
    config = replace(world, cache=training.write_cache(tmp_path / "cache", *samples))
    step = TrainingStep(trained(config, dit), dit)
    together = velocity(step, batch_of(config, 0, 1), "clip")
    for row in range(2):
        assert torch.allclose(together[row], velocity(step, batch_of(config, row), "clip")[0], atol=1e-5)


@pytest.mark.parametrize("level", ["clip", "frame"])
def test_a_row_without_its_speech_hears_exactly_nothing(world, step, level):
    silent = batch_of(replace(world, drop=Drop(0.0, 1.0, 0.0)), 0)
    deaf = trained(world, step.dit)
    with torch.no_grad():
        for block in deaf.audio.blocks:
            block.k_proj.weight.zero_()
            block.v_proj.weight.zero_()
    assert torch.equal(velocity(step, silent, level), velocity(TrainingStep(deaf, step.dit), batch_of(world, 0), level))
    assert not torch.allclose(velocity(step, silent, level), velocity(step, batch_of(world, 0), level), atol=1e-3)


def test_a_row_without_a_face_sees_none(world, step):
    faceless = batch_of(world, 0)._replace(has_face=torch.zeros(1))
    other = faceless._replace(face=torch.randn(1, training.FACE))
    assert torch.equal(velocity(step, faceless), velocity(step, other))
    assert not torch.allclose(velocity(step, faceless), velocity(step, batch_of(world, 0)), atol=1e-3)


def test_a_new_adapter_changes_nothing(world, dit):
    adapter = adapter_of(Standing.of(world, 1), dit.width, dit.blocks)
    batch = batch_of(world, 0)
    without = batch._replace(has_speech=torch.zeros(1), has_face=torch.zeros(1), motion=torch.zeros(1, 2))
    assert torch.equal(velocity(TrainingStep(adapter, dit), batch), velocity(TrainingStep(adapter, dit), without))


@pytest.mark.parametrize("level", ["clip", "frame"])
def test_every_weight_of_the_adapter_learns_and_none_of_the_dit(world, step, level):
    found = gradients(step, batch_of(world, 0, 1), level)
    assert {name.split(".")[1] for name in found} == {"audio", "identity", "motion"}
    assert all(gradient.abs().max() > 0 for gradient in found.values())
    assert all(not weight.requires_grad and weight.grad is None for weight in step.dit.base.parameters())


def test_recomputed_activations_give_the_same_gradients_to_the_bit(world, step):
    from fantasytalking_core.host.training_dit import TrainingDit

    kept = TrainingStep(step.adapter, TrainingDit(step.dit.patcher, checkpointing=False))
    batch = batch_of(world, 0, 1)
    with_, without = gradients(step, batch), gradients(kept, batch)
    assert all(torch.equal(with_[name], without[name]) for name in without)


def test_recomputing_keeps_fewer_activations(world, step):
    """What the forward pass holds for the backward pass: per block its input, not all that it computes."""
    from fantasytalking_core.host.training_dit import TrainingDit, in_training

    def held(checkpointing: bool) -> int:
        sizes = []
        module = TrainingStep(step.adapter, TrainingDit(step.dit.patcher, checkpointing))
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t)
        with in_training(), hooks:
            module(batch_of(world, 0), "frame")
        return sum(sizes)

    assert held(True) < held(False) / 2


def test_a_batch_gives_the_mean_of_its_samples_gradients(world, step):
    both = gradients(step, batch_of(world, 0, 1))
    one, other = gradients(step, batch_of(world, 0)), gradients(step, batch_of(world, 1))
    for name in both:
        assert torch.allclose(both[name], (one[name] + other[name]) / 2, atol=1e-6), name


def test_the_loss_is_that_of_the_equations(world, step):
    """Evaluated directly from the prediction, for one sample of each kind at each level."""
    from fantasytalking_core.host.training_dit import in_training

    batch = batch_of(world, 0, 1)._replace(whole=torch.tensor([True, False]))
    errors = (velocity(step, batch) - (batch.noise - batch.latents)) ** 2
    mask = batch.lips[:, None].expand_as(errors).bool()
    with torch.no_grad(), in_training():
        frame, clip = step(batch, "frame"), step(batch, "clip")
    assert frame.loss.item() == pytest.approx((errors[0].mean() + errors[1][mask[1]].mean()).item() / 2, rel=1e-5)
    clip_errors = (velocity(step, batch, "clip") - (batch.noise - batch.latents)) ** 2
    assert clip.loss.item() == pytest.approx(clip_errors.mean().item(), rel=1e-5)


def test_a_dit_in_bfloat16_trains_weights_in_float32(world):
    from fantasytalking_core.host.training_dit import TrainingDit, load_dit

    dit = TrainingDit(load_dit(world.model, torch.bfloat16))
    dit.dtype = torch.bfloat16  # the host would compute in float32 on this CPU
    dit.base.to(torch.bfloat16)
    step = TrainingStep(trained(world, dit), dit)
    found = gradients(step, batch_of(world, 0))
    exact = gradients(TrainingStep(trained(world, dit), exact_dit(world)), batch_of(world, 0))
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(gradient.flatten(), exact[name].flatten(), 0) > 0.98, name


def exact_dit(world):
    from fantasytalking_core.host.training_dit import TrainingDit, load_dit

    return TrainingDit(load_dit(world.model, torch.float32))
