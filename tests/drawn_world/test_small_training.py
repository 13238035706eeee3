"""Training the small DiT and its adapters, for a few steps on random samples."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from fantasytalking_core.adapter.file import read_adapter
from fantasytalking_core.training.data import cache
from fantasytalking_core.training.data.sample import Sample
from support import training

STEPS, AGAIN = 4, 2


def small_sample(seed: int, latent_frames: int, tokens: int, people: int = 1) -> Sample:
    """In the shape of the small family's samples, at half the size; with a width of text of its own."""
    random = torch.Generator().manual_seed(seed)
    shape = (16, latent_frames, 4, 4 * people)
    return training.sample(
        seed,
        latents=torch.randn(shape, generator=random).half(),
        image=torch.randn(shape, generator=random).half(),
        clip=torch.randn(17, 1280, generator=random).half(),
        text=torch.randn(5, 64, generator=random).half(),
        speech=torch.randn(tokens, training.AUDIO, generator=random).half(),
        lips=torch.ones(shape[1:]).half(),
    )


@pytest.fixture(scope="module")
def small(host):
    """The modules under test: `dit` and `adapters`. They need the host."""
    from drawn_world import adapters, dit, loop

    return SimpleNamespace(adapters=adapters, dit=dit, plan=loop.Plan)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    training.write_cache(folder / "cache" / "train", *(small_sample(seed, 9, 71) for seed in range(4)), frames=33)
    training.write_cache(folder / "cache" / "long", *(small_sample(seed, 21, 176) for seed in range(2)), frames=81)
    training.write_cache(folder / "cache" / "pairs", *(small_sample(seed, 9, 71, 2) for seed in range(2)), frames=33)
    for name in ("train", "long", "pairs"):
        cache.save_null_text(folder / "cache" / name, torch.zeros(1, 64))
    return folder


def train_dit(small, folder: Path, path: Path, steps: int = STEPS, stop: int | None = None) -> None:
    """With a checkpoint after every step; broken off before step `stop`, counted through both plans."""
    plan = small.plan(steps=steps, rate=1e-3, warmup=1, average=0.5, checkpoint_every=1)
    sizes, batches = small.dit.Sizes(dim=48, heads=2, layers=2, ffn_dim=64), Interrupted(small.dit.Batches(2, 1, 1, 4), stop)
    caches = {kind: folder / "cache" / name for kind, name in (("short", "train"), ("long", "long"), ("pairs", "pairs"))}
    small.dit.train(caches, path, path.with_suffix(".pt"), plan, replace(plan, steps=AGAIN), sizes, batches)


class Interrupted:
    """Batches until a step at which the training is broken off."""

    def __init__(self, batches, stop: int | None) -> None:
        self.kind, self.batches, self.stop, self.drawn = batches.kind, batches, stop, 0

    def size(self, step: int) -> int:
        if self.drawn == self.stop:
            raise KeyboardInterrupt
        self.drawn += 1
        return self.batches.size(step)


@pytest.fixture(scope="module")
def dit(small, folder) -> Path:
    path = folder / "models" / "dit.safetensors"
    train_dit(small, folder, path)
    return path


def test_the_dit_loads_in_the_hosts_loader_and_in_the_trainer(dit, models, run):
    from fantasytalking_core.host.training_dit import load_dit

    (models / "diffusion_models" / "small.safetensors").symlink_to(dit)
    loaded = run("UNETLoader", unet_name="small.safetensors", weight_dtype="default")[0]
    for patcher in (loaded, load_dit(str(dit), torch.float32)):
        found = patcher.model.diffusion_model
        assert (found.dim, found.num_heads, len(found.blocks), found.text_embedding[0].in_features) == (48, 2, 2, 64)
    assert all(value.dtype == torch.float16 and value.isfinite().all() for value in load_file(dit).values())


def test_training_changes_every_weight_of_the_dit(small, dit):
    before = small.dit.new_dit(small.dit.Sizes(dim=48, heads=2, layers=2, ffn_dim=64)).state_dict()
    after = load_file(dit)
    assert before.keys() == after.keys()
    assert [name for name in after if torch.equal(before[name].half(), after[name])] == []


def test_a_new_dit_is_wan21_i2v_of_10_million_weights_and_says_nothing_yet(small):
    made = small.dit.new_dit()
    assert 9.6e6 < sum(value.numel() for value in made.parameters()) < 9.9e6
    assert all(value.isfinite().all() for value in made.parameters()) and not made.head.head.weight.any()


@pytest.mark.parametrize("stop", [2, STEPS + 1])
def test_a_training_that_was_broken_off_ends_with_the_weights_of_an_unbroken_one(small, folder, dit, tmp_path, stop):
    path = tmp_path / "dit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_dit(small, folder, path, stop=stop)
    assert not path.exists()
    train_dit(small, folder, path)
    one, other = load_file(dit), load_file(path)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_steps_draw_follows_from_its_number(small, folder):
    samples = small.dit.Samples.load(folder / "cache" / "train")
    one, same, other = (small.dit.draw(samples, 8, step)._asdict() for step in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in ("x0", "noise", "sigma", "text"))


def test_prompts_and_images_are_left_out_as_often_as_is_said(small, folder):
    samples = small.dit.Samples.load(folder / "cache" / "train")
    batch = small.dit.draw(samples, 4000, 0)
    own = (batch.text[:, None] == samples.text.float()).flatten(2).all(2).any(1)
    none = ~batch.text.flatten(1).any(1)
    dropped = ~batch.clip.flatten(1).any(1)
    assert none.float().mean() == pytest.approx(0.1, abs=0.02) and own.float().mean() == pytest.approx(0.6, abs=0.03)
    assert dropped.float().mean() == pytest.approx(0.05, abs=0.015) and not batch.given[dropped].any()
    mask = batch.given[~dropped][:, :4]
    assert (mask[:, :, 0] == 1).all() and not mask[:, :, 1:].any()
    assert batch.text.shape[1:] == (32, 64) and not batch.text[:, 30:].any()


@pytest.fixture
def short(small, monkeypatch):
    """Of every round of an adapter a few steps, in small batches; other settings on demand."""

    def set_up(*rounds: tuple[float, int, int, int], **values) -> None:
        whole = small.adapters.config
        monkeypatch.setattr(small.adapters, "ROUNDS", tuple(small.adapters.Round(*each) for each in rounds))
        monkeypatch.setattr(small.adapters, "config", lambda *which: replace(whole(*which), batch_size=2, **values))

    return set_up


def test_the_variants_lack_what_they_are_named_for_and_have_as_many_steps(small, folder):
    for number in range(len(small.adapters.ROUNDS)):
        settings = {name: small.adapters.config(name, folder, number) for name in small.adapters.VARIANTS}
        assert len({each.steps for each in settings.values()}) == 1 and len({each.output for each in settings.values()}) == 4
        assert [stage.name for stage in settings["both"].stages] == ["clip", "frame"]
        assert [stage.name for name in ("clip", "frame") for stage in settings[name].stages] == ["clip", "frame"]
        assert (
            settings["no_identity"].parts == ("audio", "motion") and settings["no_identity"].stages == settings["both"].stages
        )
        assert all(each.parts == ("audio", "identity", "motion") for name, each in settings.items() if name != "no_identity")


@pytest.mark.parametrize("variant, parts", [("no_identity", ("audio", "motion")), ("both", ("audio", "identity", "motion"))])
def test_a_run_of_the_trainer_becomes_an_adapter_file(small, folder, dit, short, variant, parts):
    short((2e-3, 2, 2, 2), (1e-3, 1, 1, 2))
    path = small.adapters.train(variant, folder)
    assert path == folder / "runs" / variant / "adapter.safetensors" and read_adapter(path).parts == parts
    assert small.adapters.train(variant, folder) == path  # from its last checkpoint: nothing is left to do
    assert (folder / "models" / "adapter.safetensors").is_file() == (variant == "both")


def test_a_rounds_adapter_is_the_mean_of_its_last_checkpoints_and_the_next_round_begins_with_it(small, folder, dit, short):
    short((2e-3, 1, 2, 2), (1e-12, 1, 1, 1), checkpoint_every=1, warmup_steps=0)
    last = read_adapter(small.adapters.train("frame", folder))
    first = folder / "runs/frame/round_0"
    found = read_adapter(first / "adapter.safetensors")
    second, third = (read_adapter(first / f"checkpoints/step_0000000{step}/adapter.safetensors") for step in (2, 3))
    key = max(found.weights, key=lambda each: (second.weights[each] - third.weights[each]).abs().max())
    assert not torch.equal(second.weights[key], third.weights[key])
    for name, value in found.weights.items():
        torch.testing.assert_close(value, (second.weights[name] + third.weights[name]) / 2)
        torch.testing.assert_close(last.weights[name], value)
    assert (found.metadata["steps"], last.metadata["steps"]) == ("3", "2")
