"""What was measured in the evaluation's videos, and the folder that keeps both.

A video counts for as long as the models, the settings and the clips that it was made of are the same, a record for as long
as the measures are, too.
"""

import hashlib
import inspect
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.files import complete

from . import measures
from .studio import Clip, Sampling, Setting

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


@dataclass(frozen=True, eq=False)
class Record:
    """One video, and what was measured in it.

    Attributes:
        opening: of the mouth in each frame, in parts of the picture (`measures.mouth_opening`).
        heard: the clip whose speech drove it.
        synchrony, lag, best: with the speech that drove it, see `measures.Synchrony`.
        with_others: correlation with the speech of every clip but that one, in the order of the clips.
        with_own: correlation with the speech that belongs to the portrait's clip.
        identity, farthest: mean and maximum of `measures.identity_distances`.
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
    farthest: float
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
        values = json.loads(path.read_text(encoding="utf-8"))
        try:
            made = self.made(job)
        except FantasyTalkingError:  # its models are just being made again
            return None
        return Record(**values) if (values["made"], values["measured"]) == (made, self._measures) else None

    def keep(self, job: Job, record: Record) -> None:
        values = {**asdict(record), "made": self.made(job), "measured": self._measures}
        with complete(self.folder / f"{job.name}.json") as partial:
            partial.write_text(json.dumps(values), encoding="utf-8")


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
