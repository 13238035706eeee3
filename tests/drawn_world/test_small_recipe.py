"""The recipe of the small family: its caches become one, its products are shipped, its stages can be run alone."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from drawn_world import recipe
from drawn_world.world.figure import Pose
from drawn_world.world.look import MOUTH_INSIDE
from drawn_world.world.portrait import draw
from drawn_world.world.videos import look_of
from drawn_world.world.voices import SENTENCES, VOICES
from fantasytalking_core.training.data.cache import Index
from fantasytalking_core.training.data.sample import Sample
from support import training


@pytest.fixture
def halves(tmp_path):
    """Two caches of five samples each, whose variances are 1 to 10."""
    folders = []
    for half in range(2):
        samples = [
            training.sample(5 * half + n, motion=torch.tensor([5.0 * half + n + 1, 2 * (5.0 * half + n + 1)])) for n in range(5)
        ]
        folder = training.write_cache(tmp_path / f"half_{half}", *samples)
        index = Index.load(folder)
        entries = []
        for entry in index.samples:  # names do not repeat, as those of different videos do not
            renamed = replace(entry, file=f"{half}_{entry.file}", source=f"{half}_{entry.source}")
            (folder / entry.file).rename(folder / renamed.file)
            entries.append(renamed)
        replace(index, samples=tuple(entries), left_out={f"video_{half}": "no sound"}).save(folder)
        folders.append(folder)
    return folders


def test_two_caches_become_one(halves, tmp_path):
    recipe.merge(halves, tmp_path / "whole")
    index = Index.load(tmp_path / "whole")
    assert [entry.source for entry in index.samples] == [f"{half}_video{n}.mp4" for half in range(2) for n in range(5)]
    assert [Sample.load(tmp_path / "whole" / entry.file).motion[0].item() for entry in index.samples] == list(range(1, 11))
    assert index.ranges.expression == pytest.approx((1.45, 9.55)) and index.ranges.body == pytest.approx((2.9, 19.1))
    assert index.left_out == {"video_0": "no sound", "video_1": "no sound"}
    assert (tmp_path / "whole" / "null.safetensors").is_file()


def test_all_products_are_shipped(monkeypatch, tmp_path):
    models = tmp_path / "models"
    (models / "wav2vec2").mkdir(parents=True)
    weights = {name: torch.rand(3, 2).half() for name in ("one", "two")}
    for name in ("vae.safetensors", "dit.safetensors", "adapter.safetensors"):
        save_file(weights, models / name, {"config": "{}"} if name.startswith("dit") else None)
    for name in ("face_encoder.onnx", "wav2vec2/config.json"):
        (models / name).write_text(name)
    monkeypatch.setattr(recipe, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(recipe, "DEMO_FOLDER", tmp_path)
    monkeypatch.setattr(recipe, "say", lambda text, voice: np.pad(np.full(16000, 0.5, np.float32), (0, 8000)))
    recipe.ship(tmp_path)
    made, shipped = (
        {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        for folder in (models, recipe.SHIPPED)
    )
    assert shipped == made
    for name in ("vae", "dit", "adapter"):
        copy = load_file(recipe.SHIPPED / f"{name}.safetensors")
        assert copy.keys() == weights.keys() and all(torch.equal(copy[key], weights[key]) for key in weights)
        with safe_open(recipe.SHIPPED / f"{name}.safetensors", framework="pt") as file:
            hint = {"modelspec.usage_hint": "small demo model: knows drawn people only"}
            assert file.metadata() == ({"config": "{}", **hint} if name == "dit" else hint)
    with Image.open(tmp_path / "drawn_portrait.png") as shown:
        assert shown.size == (96, 96)
    assert soundfile.info(tmp_path / "drawn_speech.wav").duration == pytest.approx(1.25, abs=0.1)
    assert soundfile.info(tmp_path / "drawn_long_speech.wav").duration == pytest.approx(8 * 1.1 + 7 * 0.5 + 0.25, abs=0.5)
    with Image.open(tmp_path / "pair_portrait.jpg") as pair, Image.open(tmp_path / "drawn_mouth.png") as mouth:
        assert pair.size == (768, 384) and mouth.size == (96, 96)
        assert 0.03 < np.asarray(mouth)[..., 0].mean() / 255 < 0.3 and np.asarray(mouth)[60, 48, 0] == 255
    assert (tmp_path / "drawn_clip.mp4").stat().st_size > 10_000


def test_the_demos_mouth_holds_what_is_seen_of_an_open_one():
    """Wherever that person's mouth is dark inside, and little else."""
    with Image.open(recipe.DEMO_FOLDER / "drawn_mouth.png") as mask:
        inside = np.asarray(mask)[..., 0] == 255
    look = look_of("test", recipe.DEMO["drawn_portrait.png"])
    for pose in (Pose(mouth_open=0.7), Pose(mouth_open=0.5, mouth_wide=-1.0), Pose(mouth_open=0.4, mouth_wide=1.0)):
        dark = np.linalg.norm(draw(look, pose) - np.array(MOUTH_INSIDE, float), axis=-1) < 40
        assert dark[48:].any() and not (dark & ~inside)[48:].any()  # the eyes are above
    assert inside.mean() < 0.25


def test_the_demos_people_are_drawn_anew_as_they_lie_there():
    """Nobody was trained on them, and they are not those that are measured."""
    for name, number in recipe.DEMO.items():
        with Image.open(recipe.DEMO_FOLDER / name) as shown:
            assert np.array_equal(np.asarray(shown), draw(look_of("test", number), Pose())), name
    assert not set(recipe.DEMO.values()) & set(recipe.FOLDERS["test"].numbers)


def test_the_demos_sentences_and_voices_were_never_heard():
    for sentences, voice in recipe.DEMO_SPEECH.values():
        assert sentences and not set(sentences) & set(SENTENCES["train"]) and voice.name not in VOICES["train"]


def test_a_stage_alone(monkeypatch, tmp_path):
    ran = []
    stages = {name: lambda folder, name=name: ran.append((name, folder)) for name in ("a", "b", "c")}
    monkeypatch.setattr(recipe, "STAGES", stages)
    monkeypatch.setenv("FANTASYTALKING_BASE", str(tmp_path / "base"))
    assert recipe.main(["--only", "b"]) == 0 and recipe.main([]) == 0
    assert ran == [(name, tmp_path / "small") for name in ("b", "a", "b", "c")]


def test_nobody_is_in_two_videos():
    people = [
        (made.split, number * made.people + place)
        for made in recipe.FOLDERS.values()
        for number in made.numbers
        for place in range(made.people)
    ]
    assert len(people) == len(set(people)) == 360 + 360 + 120 + 2 * 90 + 24
    assert sum(split == "test" for split, _ in people) >= 20
