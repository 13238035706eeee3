"""The studies of the small models, on drawn people of whom everything is known; what keeps and tells their figures."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import soundfile
from PIL import Image
from scipy import ndimage

from drawn_world import FPS
from drawn_world.markdown import write_between
from drawn_world.studies import page, silence, speakers, voices
from drawn_world.studies.people import Pair, person
from drawn_world.studies.study import Study, evaluate, section, spread
from drawn_world.studio import Sampling
from drawn_world.world.performance import RATE, perform
from drawn_world.world.portrait import draw, draw_all
from fantasytalking_core.errors import FantasyTalkingError


def syllables(seed: int, seconds: float) -> np.ndarray:
    """Noise, as loud as syllables are, float32."""
    random = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    steps = np.repeat(random.uniform(0, 1, samples // 2000 + 1) ** 2, 2000)[:samples]
    return (ndimage.gaussian_filter1d(steps, 400) * random.normal(0, 0.2, samples)).astype(np.float32)


def drawn_pair(pair: Pair, sounds: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    poses = [perform(sound, speakers.FRAMES, FPS, 0.8, 0.3, seed) for seed, sound in enumerate(sounds)]
    looks = [pair.left.look, pair.right.look]
    return np.stack([draw_all(looks, moment) for moment in zip(*poses, strict=True)]) / 255


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair.of(0)


def test_each_mouth_is_told_to_follow_its_own_speech(pair):
    one, other = (syllables(seed, speakers.FRAMES / FPS) for seed in (1, 2))
    right = speakers.measured(pair.seen(drawn_pair(pair, (one, other))), (one, other))
    swapped = speakers.measured(pair.seen(drawn_pair(pair, (other, one))), (one, other))
    assert right["with its own speech"] > 0.8 and abs(right["with the other's"]) < 0.4
    assert swapped["with the other's"] > 0.8 and abs(swapped["with its own speech"]) < 0.4


def test_a_mouth_that_is_silent_is_shut(pair):
    sound = syllables(3, speakers.FRAMES / FPS)
    first = np.arange(len(sound)) < len(sound) // 2
    turns = sound * first, sound * ~first
    right = speakers.measured(pair.seen(drawn_pair(pair, turns)), turns)
    swapped = speakers.measured(pair.seen(drawn_pair(pair, turns[::-1])), turns)
    assert right["open while silent"] < 0.05 * right["open in speech"]
    assert swapped["open while silent"] > 0.2 * right["open in speech"]


def test_a_mouth_in_a_pause_is_told_from_one_that_goes_on():
    half, pause = syllables(4, silence.SPOKEN), 1.0
    frames = 1 + 4 * round((2 * silence.SPOKEN + pause) * FPS / 4)
    quiet, loud = (
        np.concatenate([half, middle, half, half]).astype(np.float32)[: round(frames / FPS * RATE)]
        for middle in (np.zeros(RATE), syllables(5, pause))
    )
    clip = person(0, quiet)
    found = []
    for sound in (quiet, loud):
        drawn = np.stack([draw(clip.look, pose) for pose in perform(sound, frames, FPS, 0.8, 0.2, 3)]) / 255
        found.append(silence.measured(clip, drawn, pause)[0])
    shut, talking = found
    assert shut["open in the pause"] < 0.05 * shut["open in speech"]
    assert talking["open in the pause"] > 0.2 * talking["open in speech"]
    assert shut["lips from the shut ones"] < 0.5 * talking["lips from the shut ones"]
    assert shut["synchrony"] > 0.9 and shut["after the pause"] > 0.8


@dataclass
class Studio:
    """What a study's figures depend on."""

    sampling: Sampling = field(default_factory=Sampling)
    digests: tuple[str, ...] = ("a",)

    def files(self) -> tuple[str, ...]:
        return self.digests


def test_a_study_is_made_once_and_told_with_its_standard_error(tmp_path):
    made = []

    def rows(studio, number):
        made.append(number)
        frames = np.full((13, 8, 16, 3), 0.5)
        return {"one: row": ({"a": 1.0 + number, "b": 20.0}, frames), "other": ({"a": 3.0}, frames)}

    study, studio = Study("trial", "A trial", "Of nothing.", rows, 2), Studio()
    for _ in range(2):
        evaluate(study, studio, tmp_path)
    assert made == [0, 1]
    evaluate(study, Studio(digests=("b",)), tmp_path)
    assert made == [0, 1, 0, 1]
    lines = section(study, studio, tmp_path, tmp_path / "pictures")
    assert lines[0] == "## A trial" and lines[2] == "2 held-out people. Of nothing."
    assert lines[4:8] == [
        "|  | a | b |",
        "| --- | --- | --- |",
        "| one: row | 1.50 ± 0.50 | 20.0 ± 0.0 |",
        "| other | 3.00 ± 0.00 |  |",
    ]
    with Image.open(tmp_path / "pictures/trial.jpg") as shown:
        assert shown.width > 13 * 32 and "![A trial](pictures/trial.jpg)" in lines


def test_nothing_is_told_of_what_was_not_made(tmp_path):
    assert section(Study("trial", "A trial", "", lambda *_: {}), Studio(), tmp_path, tmp_path) == []
    assert spread([]) == "" and spread([0.5]) == "0.50"


def test_a_folder_without_recordings_is_no_study(tmp_path):
    (tmp_path / "words.txt").write_text("not spoken")
    with pytest.raises(FantasyTalkingError, match=r"no recording in .*: expected \*.wav, \*.flac"):
        voices.study(tmp_path)
    soundfile.write(tmp_path / "one.wav", np.zeros(RATE), RATE)
    assert voices.study(tmp_path).people == 1


def test_only_what_stands_between_the_marks_is_written(tmp_path):
    path = tmp_path / "studies.md"
    path.write_text(f"Words.\n{page.MARKS[0]}\nold\n{page.MARKS[1]}\nMore.\n", encoding="utf-8")
    write_between(path, page.MARKS, "new")
    assert path.read_text(encoding="utf-8") == f"Words.\n{page.MARKS[0]}\n\nnew\n{page.MARKS[1]}\nMore.\n"
    path.write_text("Words.", encoding="utf-8")
    with pytest.raises(FantasyTalkingError, match="lacks the lines"):
        write_between(path, page.MARKS, "new")
    assert path.read_text(encoding="utf-8") == "Words."
