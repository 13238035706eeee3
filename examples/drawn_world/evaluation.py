"""Held-out clips through the pack's own nodes on the host, and what is measured in what they show.

    python dev.py evaluate small [--clips 24] [--seeds 3] [--part I/N] [--report-only]

Every video that was made stays in the folder, with its measures; what exists already is not made again, unless the models,
the settings or the measures have changed. Several processes may share the work, each with a `--part` of its own.
"""

import argparse
import hashlib
import inspect
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.files import complete

from . import FRAMES, ROOT, measures
from .recipe import work_folder
from .studio import Clip, Sampling, Setting, Studio, held_out

CLIPS, SEEDS = 24, 3
NEUTRAL = "both"
"""The setting that all others are compared with: the shipped adapter, ω at 0.5."""
TRUTH, THROUGH_VAE, STRANGER = "truth", "truth through the VAE", "another person"
"""Names of what is no generation: the drawn clip itself, after its encoding and decoding, and another clip in its place."""
DRAWN = (TRUTH, STRANGER)
COMPARED_WITH = (*DRAWN, THROUGH_VAE)
SETTINGS = {
    NEUTRAL: Setting(),
    "clip": Setting("clip"),
    "frame": Setting("frame"),
    "no_identity": Setting("no_identity", identity=False),
    "no_face": Setting(identity=False),
    "other_speech": Setting(other_speech=True),
    "expression_0.1": Setting(expression=0.1),
    "expression_1.0": Setting(expression=1.0),
    "body_0.1": Setting(body=0.1),
    "body_1.0": Setting(body=1.0),
}


def other(number: int, count: int) -> int:
    """The clip whose speech drives another portrait."""
    return (number + count // 2) % count


@dataclass(frozen=True, eq=False)
class Record:
    """One video, and what was measured in it.

    Attributes:
        opening: of the mouth in each frame, in parts of the picture (`measures.mouth_opening`).
        heard: the clip whose speech drove it.
        synchrony, lag, best: with the speech that drove it, see `measures.Synchrony`.
        with_others: correlation with the speech of every clip but that one, in the order of the clips.
        with_own: correlation with the speech that belongs to the portrait's clip.
        identity: `measures.identity_distance`.
        subject, background, expression: motion in pixels per frame.
        mouth: standard deviation of `opening`.
    """

    setting: str
    clip: int
    seed: int
    heard: int
    opening: list[float]
    synchrony: float
    lag: int
    best: float
    with_others: list[float]
    with_own: float
    identity: float
    subject: float
    background: float
    expression: float
    mouth: float
    made: str = field(default="")
    measured: str = field(default="")


@dataclass(frozen=True)
class Job:
    """A video to be made, or to be measured only."""

    setting: str
    clip: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.setting.replace(' ', '_')}-{self.clip:02d}-{self.seed}"


def measure(job: Job, heard: int, frames: np.ndarray, clip: Clip, loud: Sequence[np.ndarray]) -> Record:
    """Everything about one video `[F, H, W, 3]`.

    Args:
        heard: the clip whose speech drove it.
        clip: whose portrait it shows.
        loud: of every clip, see `measures.loudness`.
    """
    places = measures.Places.of(clip.look, clip.landmarks)
    opening = measures.mouth_opening(frames, clip.reference, places)
    fit = measures.synchrony(opening, loud[heard])
    steady = measures.steadied(frames, clip.reference, places.face)
    subject, background = measures.motion(frames, places.person)
    return Record(
        job.setting,
        job.clip,
        job.seed,
        heard,
        opening.tolist(),
        fit.r,
        fit.lag,
        fit.best,
        [measures.correlation(opening, each) for index, each in enumerate(loud) if index != heard],
        measures.correlation(opening, loud[job.clip]),
        measures.identity_distance(steady, clip.reference, places),
        subject,
        background,
        measures.expression_motion(steady, places.face),
        float(opening.std()),
    )


def jobs(clips: int, seeds: int, settings: Sequence[str] = tuple(SETTINGS)) -> Iterator[Job]:
    """All there is to do, such that what is done first shows most."""
    for setting in COMPARED_WITH:
        yield from (Job(setting, clip, 0) for clip in range(clips))
    for seed in range(seeds):
        for clip in range(clips):
            yield from (Job(setting, clip, seed) for setting in settings)


class Archive:
    """The videos and records of a folder."""

    def __init__(self, folder: Path, sampling: Sampling, clips: Sequence[Clip]) -> None:
        self.folder = folder / "evaluation"
        self.folder.mkdir(parents=True, exist_ok=True)
        data = [part for clip in clips for part in (clip.frames.tobytes(), clip.speech.tobytes())]
        self._clips = _digest(*data)
        self._measures = _digest(inspect.getsource(measures).encode(), self._clips.encode())
        self._folder, self._sampling = folder, sampling
        self._files: dict[Path, str] = {}

    def made(self, job: Job) -> str:
        """What a video is made of, in short."""
        setting = SETTINGS.get(job.setting)
        names = ["models/dit.safetensors", "models/face_encoder.onnx", "models/wav2vec2/model.safetensors"]
        files = [] if job.setting in DRAWN else ["models/vae.safetensors"]
        files += [] if setting is None else [*names, f"runs/{setting.adapter}/adapter.safetensors"]
        settings = "" if setting is None else json.dumps([asdict(setting), asdict(self._sampling)])
        return _digest(self._clips.encode(), settings.encode(), *(self._of(self._folder / file).encode() for file in files))

    def _of(self, file: Path) -> str:
        if file not in self._files:
            if not file.is_file():
                raise FantasyTalkingError(f"{file} is missing: run `python dev.py train small` first.")
            self._files[file] = _digest(file.read_bytes())
        return self._files[file]

    def frames(self, job: Job) -> np.ndarray | None:
        """The video, if it is there and of these models and settings."""
        path = self.folder / f"{job.name}.npz"
        if not path.is_file():
            return None
        with np.load(path) as file:
            return file["frames"].astype(np.float32) / 255 if str(file["made"]) == self.made(job) else None

    def keep_frames(self, job: Job, frames: np.ndarray) -> None:
        with complete(self.folder / f"{job.name}.npz") as partial, partial.open("wb") as file:
            np.savez(file, frames=(frames * 255).round().astype(np.uint8), made=self.made(job))

    def record(self, job: Job) -> Record | None:
        """What was measured, if by these measures in the video of these models and settings."""
        path = self.folder / f"{job.name}.json"
        if not path.is_file():
            return None
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
        try:
            made = self.made(job)
        except FantasyTalkingError:  # its models are just being made again
            return None
        return record if (record.made, record.measured) == (made, self._measures) else None

    def keep(self, job: Job, record: Record) -> None:
        values = {**asdict(record), "made": self.made(job), "measured": self._measures}
        with complete(self.folder / f"{job.name}.json") as partial:
            partial.write_text(json.dumps(values), encoding="utf-8")


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def evaluate(
    folder: Path,
    clips: Sequence[Clip],
    seeds: int,
    sampling: Sampling,
    settings: Sequence[str] = tuple(SETTINGS),
    part: tuple[int, int] = (1, 1),
) -> None:
    """Make and measure what is missing, or that of every n-th clip.

    Args:
        part: i and n, i from 1 on.
    """
    archive, studio = Archive(folder, sampling, clips), None
    loud = [measures.loudness(clip.speech, FRAMES) for clip in clips]
    index, parts = part
    mine = [job for job in jobs(len(clips), seeds, settings) if job.clip % parts == index - 1]
    for done, job in enumerate(mine, 1):
        if archive.record(job) is not None:
            continue
        setting, clip = SETTINGS.get(job.setting), clips[job.clip]
        swapped = setting.other_speech if setting else job.setting == STRANGER
        heard = other(job.clip, len(clips)) if swapped else job.clip
        frames = archive.frames(job)
        if frames is None:
            studio = studio or (Studio(folder, sampling) if job.setting not in DRAWN else None)
            if setting is not None:
                frames = studio.film(clip, clips[heard].speech, setting, job.seed)
            else:
                frames = clips[heard].frames if job.setting in DRAWN else studio.through_vae(clip.frames)
            archive.keep_frames(job, frames)
            frames = archive.frames(job)
        record = measure(job, heard, frames, clip, loud)
        archive.keep(job, record)
        logging.info("%d of %d: %s, synchrony %.2f, lag %d", done, len(mine), job.name, record.synchrony, record.lag)


def _part(text: str) -> tuple[int, int]:
    index, parts = map(int, text.split("/"))
    if not 1 <= index <= parts:
        raise argparse.ArgumentTypeError(f"{text} is no part: expected I/N with 1 ≤ I ≤ N")
    return index, parts


def main(arguments: list[str]) -> int:
    """`python dev.py evaluate small …`"""
    parser = argparse.ArgumentParser(prog="dev.py evaluate small", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=work_folder(), help="the working folder of the training")
    parser.add_argument("--clips", type=int, default=CLIPS, help="held-out clips")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=tuple(SETTINGS), help="only these")
    parser.add_argument("--steps", type=int, default=Sampling.steps)
    parser.add_argument("--audio-cfg", type=float, default=Sampling.audio_cfg)
    parser.add_argument("--identity-strength", type=float, default=Sampling.identity_strength)
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="I/N", help="every N-th clip only, without a report")
    parser.add_argument("--report-only", action="store_true", help="make nothing, report what there is")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where evidence.md is")
    chosen = parser.parse_args(arguments)
    from . import evidence  # which needs this module

    torch.set_num_threads(1)
    sampling = Sampling(steps=chosen.steps, audio_cfg=chosen.audio_cfg, identity_strength=chosen.identity_strength)
    try:
        clips = held_out(chosen.folder, chosen.clips)
        if not chosen.report_only:
            evaluate(chosen.folder, clips, chosen.seeds, sampling, chosen.settings, chosen.part)
        if chosen.part == (1, 1):
            evidence.report(Archive(chosen.folder, sampling, clips), clips, chosen.seeds, sampling, chosen.docs)
    except FantasyTalkingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
