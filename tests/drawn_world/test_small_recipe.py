"""The recipe of the small family: its caches become one, its products are shipped, its stages can be run alone."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from drawn_world import recipe
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
    for name in ("vae.safetensors", "face_encoder.onnx", "dit.safetensors", "adapter.safetensors", "wav2vec2/config.json"):
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
    with Image.open(tmp_path / "drawn_portrait.png") as shown:
        assert shown.size == (64, 64)
    assert soundfile.info(tmp_path / "drawn_speech.wav").duration == pytest.approx(1.25, abs=0.1)


def test_a_stage_alone(monkeypatch, tmp_path):
    ran = []
    stages = {name: lambda folder, name=name: ran.append((name, folder)) for name in ("a", "b", "c")}
    monkeypatch.setattr(recipe, "STAGES", stages)
    monkeypatch.setenv("FANTASYTALKING_BASE", str(tmp_path / "base"))
    assert recipe.main(["--only", "b"]) == 0 and recipe.main([]) == 0
    assert ran == [(name, tmp_path / "small") for name in ("b", "a", "b", "c")]


def test_people_and_videos_of_test_and_training_differ():
    numbers = [(split, number) for split, each in recipe.FOLDERS.values() for number in each]
    assert len(numbers) == len(set(numbers)) == 824
    assert sum(split == "test" for split, _ in numbers) >= 20
