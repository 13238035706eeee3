"""`evaluate small`: what it makes and measures of the shipped small models, and how it tells it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from drawn_world import ROOT, evidence, single_videos
from drawn_world.evaluation import measure
from drawn_world.records import NEUTRAL, SETTINGS, STRANGER, THROUGH_VAE, TRUTH, Job, Record
from drawn_world.studio import Clip, Sampling
from drawn_world.world import videos
from drawn_world.world.figure import Pose, landmarks
from drawn_world.world.portrait import draw
from support.world import voice

RUN = ("--clips", "2", "--seeds", "1", "--steps", "1")
MADE = (NEUTRAL, "other_speech")
WORDS = "# Evidence\n\nWritten by hand.\n\n{}\nold\n{}\n\nBelow.\n"


def made_up_speech(split: str, number: int, seconds: float, pausing: bool) -> np.ndarray:
    """For those who have no speech synthesiser."""
    return voice(np.random.default_rng(number), seconds, videos.RATE)[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As the recipe leaves it: the shipped models, and two videos of people whom these have never seen."""
    folder = tmp_path_factory.mktemp("small")
    shutil.copytree(ROOT / "sources/drawn_world/models", folder / "models")
    (folder / "runs/both").mkdir(parents=True)
    shutil.copy(folder / "models/adapter.safetensors", folder / "runs/both")
    (folder / "videos/test").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(videos, "speech", made_up_speech)
        for number in range(2):
            videos._make(folder / "videos/test", "test", 1, number)
    return folder


@pytest.fixture(scope="module")
def command(folder):
    """`evaluate small` in a process of its own, as dev.py starts it."""
    docs, base = folder / "docs", folder / "base"
    docs.mkdir()
    base.mkdir()
    (docs / "evidence.md").write_text(WORDS.format(*evidence.MARKS), encoding="utf-8")

    def command(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [
                sys.executable,
                ROOT / "sources/drawn_world/__main__.py",
                "evaluate",
                "--folder",
                folder,
                "--docs",
                docs,
                *RUN,
                *arguments,
            ],
            env={**os.environ, "FANTASYTALKING_BASE": str(base)},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return command


@pytest.fixture(scope="module")
def measured(command) -> None:
    done = command("--settings", *MADE)
    assert done.returncode == 0, done.stderr


def test_the_shipped_models_are_measured_and_the_page_is_written(folder, measured):
    records = [Record(**json.loads(path.read_text(encoding="utf-8"))) for path in (folder / "evaluation").glob("*.json")]
    names = (TRUTH, STRANGER, THROUGH_VAE, *MADE)
    assert sorted((r.setting, r.clip) for r in records) == sorted((name, clip) for name in names for clip in (0, 1))
    for record in records:
        assert record.heard == (1 - record.clip if record.setting in ("other_speech", STRANGER) else record.clip)
        assert record.identity > 10 if record.setting == STRANGER else record.identity < 10
        if record.setting == TRUTH:  # a drawn mouth follows the sound, of the speech that belongs to it alone
            assert record.synchrony > 0.85 > 0.5 > record.with_others[0]
    page = (folder / "docs/evidence.md").read_text(encoding="utf-8")
    assert page.startswith("# Evidence\n\nWritten by hand.\n") and page.endswith("\n\nBelow.\n") and "\nold\n" not in page
    assert "2 held-out clips" in page and "steps 1," in page
    shown = [
        Image.open(folder / "docs" / name)
        for name in (
            "evidence/clips.jpg",
            "evidence/settings.jpg",
            "evidence/lags.png",
            "evidence/mouths.png",
            "evidence/omega.png",
        )
    ]
    assert all(np.ptp(np.asarray(picture)) > 100 and picture.filename.split("docs/")[1] in page for picture in shown)


def test_nothing_is_made_again_until_a_model_changes(folder, command, measured):
    videos_made = {path: path.stat().st_mtime_ns for path in (folder / "evaluation").iterdir()}
    assert command("--settings", *MADE).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "evaluation").iterdir()} == videos_made
    adapter = folder / "runs/both/adapter.safetensors"
    before = adapter.read_bytes()
    try:
        adapter.write_bytes(before + b"another")
        done = command("--report-only")
    finally:
        adapter.write_bytes(before)
    assert done.returncode == 1 and "Nothing has been measured with these models" in done.stderr


def record(setting: str, clip: int, **values) -> Record:
    usual = Record(
        setting,
        clip,
        0,
        clip,
        opening=[0.0, 1.0],
        synchrony=0.6,
        lag=0,
        best=0.6,
        with_others=[0.0],
        with_own=0.6,
        identity=5.0,
        farthest=6.0,
        subject=0.2,
        background=0.1,
        expression=0.2,
        mouth=0.005,
    )
    return replace(usual, **values)


def test_the_figures_of_the_page():
    found = {name: [] for name in (TRUTH, STRANGER, THROUGH_VAE, *SETTINGS)}
    found[STRANGER] = [record(STRANGER, 0, identity=20.0), record(STRANGER, 1, identity=30.0)]
    found[NEUTRAL] = [
        record(NEUTRAL, 0, synchrony=0.5, lag=-2, with_others=[0.3, -0.1], expression=0.2, identity=5.0),
        record(NEUTRAL, 1, synchrony=0.7, lag=5, with_others=[0.0, 0.2], expression=0.4, identity=7.0),
    ]
    found["no_identity"] = [record("no_identity", 0, identity=8.0), record("no_identity", 1, identity=6.0)]
    found["expression_0.1"] = [record("expression_0.1", 0, expression=0.1), record("expression_0.1", 1, expression=0.5)]
    found["expression_1.0"] = [record("expression_1.0", 0, expression=0.3), record("expression_1.0", 1, expression=0.6)]
    page = evidence.section(found, 2, Sampling())
    assert "| both | 0.60 ± 0.10 |" in page and "| both, trained without identity | 0.60 ± 0.00 |" in page
    assert "clip stage only" not in page and "another person is at 25 ± 5." in page
    assert "| with the speech of the other clips, which did not | 0.10 ± 0.16 |" in page
    assert (
        "\nSynchrony is at least 0.5 in 100% of the videos" in page
        and "median 1.5, within 4 frames of 0 in 50% of the videos" in page
    )
    assert "0.1 to 0.5 and 0.5 to 1.0: expression motion rises in 50% and 100% of the pairs." in page
    assert "farther from the reference where identity was not trained in 50% of the pairs: +1.000 ± 2.000" in page


def test_a_coefficient_is_compared_on_the_videos_that_were_made_at_each_value():
    found = {name: [] for name in SETTINGS}
    found[NEUTRAL] = [record(NEUTRAL, 0, subject=0.2), record(NEUTRAL, 0, seed=1, subject=0.8)]
    found["body_0.1"], found["body_1.0"] = [record("body_0.1", 0, subject=0.1)], [record("body_1.0", 0, subject=0.3)]
    lines = "\n".join(evidence.intensity(found))
    assert all(
        f"| body ω_b = {value} | 0.200 ± 0.000 | 5.00 ± 0.00 | {subject}00 ± 0.000 |" in lines
        for value, subject in ((0.1, 0.1), (0.5, 0.2), (1.0, 0.3))
    )
    assert "body 0.1 to 0.5 and 0.5 to 1.0: subject motion rises in 100% and 100% of the pairs." in lines


def test_a_video_whose_last_frame_shows_another_person_is_counted():
    one, other = (draw(videos.look_of("test", number), Pose()) / 255 for number in (0, 1))
    look = videos.look_of("test", 0)
    clip = Clip(look, one[None], np.zeros(1), landmarks(look, Pose()))
    kept, broken = (
        measure(Job(NEUTRAL, 0, 0), 0, np.stack([one] * 11 + [last]), clip, [np.arange(12.0)]).farthest for last in (one, other)
    )
    assert kept < 0.1 and broken > 10
    found = {NEUTRAL: [record(NEUTRAL, 0, synchrony=0.4, farthest=kept), record(NEUTRAL, 0, synchrony=0.9, farthest=broken)]}
    found |= {THROUGH_VAE: [], STRANGER: [record(STRANGER, 0, identity=20.0), record(STRANGER, 1, identity=30.0)]}
    line = single_videos.told(found)
    assert "at least 0.5 in 50% of the videos; they range from 0.40 to 0.90." in line
    assert "in 1 of 2 videos it is beyond 8.3, a third" in line
