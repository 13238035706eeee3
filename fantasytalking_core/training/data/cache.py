"""What lies between `prepare` and `run`: a folder with an index and one safetensors file per sample.

Everything that the frozen encoders make is computed once, here, so that training only runs the DiT.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ...adapter.motion import MotionRanges, Range
from ...errors import FantasyTalkingError
from ...files import write_tensors, write_text
from .clips import Clip
from .placement import Shape
from .sample import Sample, read_tensors

INDEX, NULL = "index.json", "null.safetensors"
FORMAT, VERSION = "fantasytalking-cache", 2
BEFORE: Mapping[str, str] = {"placement": "middle", "cuts": "kept", "interlaced": "kept", "sound": "best", "motion": "linear"}
"""How the samples of caches of version 1 were made, which say nothing of it."""
RANGE = (0.05, 0.95)
"""Quantiles of the variances that map to 0 and to 1: single wild clips do not decide what 1 means."""
MIN_SAMPLES = 8
"""With fewer known variances, or with equal ones, there is nothing to learn from them: the coefficient stays neutral."""
SMALLEST = 1e-3
"""Of a range's upper end: over the logarithm, none begins at 0."""
SAVE_EVERY = 10.0
"""Seconds between two times that the index is written, which grows with the data set."""


@dataclass(frozen=True)
class Entry:
    """A sample of the index.

    Attributes:
        file: name in the cache folder.
        source: name of the video in its folder.
        start: of the clip in it, in seconds.
        caption: the prompt.
        motion: variances of face and body, None where they are not known; None where they are in the sample alone.
    """

    file: str
    source: str
    start: float
    caption: str
    motion: tuple[float | None, float | None] | None = None


@dataclass(frozen=True)
class Index:
    """What a cache holds and what it was made with.

    Attributes:
        frames, fps, width, height: of every clip; pixels.
        models: which encoders made it, by their part (vae, text, clip, wav2vec, face), as file names and sizes.
        ranges: of motion over the data set, which map variances to [0, 1].
        samples: in a stable order.
        left_out: video (and place in it) to the reason.
        made: what else decides how the samples are, by its name.
        notes: video to what is worth knowing of how it was read.
    """

    frames: int
    fps: float
    width: int
    height: int
    models: Mapping[str, str]
    ranges: MotionRanges = MotionRanges()
    samples: tuple[Entry, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=lambda: dict(BEFORE))
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        stored = {"format": FORMAT, "version": VERSION, **asdict(self)}
        write_text(folder / INDEX, json.dumps(stored, indent=1, ensure_ascii=False))

    @classmethod
    def load(cls, folder: Path) -> "Index":
        """Raises FantasyTalkingError where there is no index, a damaged one, or one of another version."""
        try:
            stored = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            if stored.pop("format") != FORMAT or stored.pop("version") not in (1, VERSION):
                raise FantasyTalkingError(f"'{folder}' holds a cache of another version: run prepare into a new folder.")
            ranges = MotionRanges.of(stored.pop("ranges"))
            samples = tuple(_entry(**entry) for entry in stored.pop("samples"))
            notes = {source: tuple(notes) for source, notes in stored.pop("notes", {}).items()}
            made = dict(stored.pop("made", BEFORE))
            return cls(**stored, samples=samples, ranges=ranges, made=made, notes=notes)
        except FileNotFoundError as error:
            raise FantasyTalkingError(f"'{folder}' holds no training cache: run prepare first.") from error
        except FantasyTalkingError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FantasyTalkingError(f"'{folder / INDEX}' is damaged: delete the folder and run prepare again.") from error


def _entry(motion: Sequence[float | None] | None = None, **about: Any) -> Entry:
    if motion is None:
        return Entry(**about)
    face, body = (None if variance is None else float(variance) for variance in motion)
    return Entry(**about, motion=(face, body))


def save_null_text(folder: Path, text: torch.Tensor) -> None:
    """The embedding `[L, text]` of an empty prompt, for prompts that are dropped."""
    write_tensors(folder / NULL, {"text": text})


def load_null_text(folder: Path) -> torch.Tensor:
    return read_tensors(folder / NULL, {"text"})["text"]


class Unwritable(FantasyTalkingError):
    """The cache can't be written: no reason to go on with the next video."""


@contextmanager
def writing(cache: Path) -> Iterator[None]:
    """Raises Unwritable in place of OSError."""
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"The cache '{cache}' can't be written ({error.strerror or error}): make room or choose another place. All "
            "samples so far are kept: run prepare again to go on."
        ) from error


class Cache:
    """A cache while it is made: its samples by video, and what was left out. It is whole whenever the work ends.

    Args:
        shape: of every clip.
        models, made: see `Index`.

    Raises:
        FantasyTalkingError: the folder holds a cache of other shapes or models, or can't be written.
    """

    def __init__(self, folder: Path, shape: Shape, models: Mapping[str, str], made: Mapping[str, str]) -> None:
        self.folder, self.shape, self.models, self.made = folder, shape, models, made
        self.samples: dict[str, dict[float, Entry]] = {}
        self.left_out: dict[str, str] = {}
        self.notes: dict[str, tuple[str, ...]] = {}
        self.saved = time.monotonic()
        self.widths: dict[str, int] = {}
        if (folder / INDEX).exists():
            self._go_on(Index.load(folder))
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.save()

    def _go_on(self, index: Index) -> None:
        before, now = _made_with(index), _made_with(self._index())
        pairs = [(key, before.get(key), now.get(key)) for key in {**before, **now}]
        if differ := "; ".join(f"{key} was {old}, is {new}" for key, old, new in pairs if old != new):
            raise FantasyTalkingError(f"'{self.folder}' holds a cache of another kind ({differ}): choose a new folder.")
        self.left_out, self.notes = dict(index.left_out), dict(index.notes)
        for entry in index.samples:
            self.samples.setdefault(entry.source, {})[entry.start] = entry
        there = next((entry for entry in index.samples if (self.folder / entry.file).is_file()), None)
        if there is not None:
            self.widths = _widths(Sample.load(self.folder / there.file))

    @property
    def has_null_text(self) -> bool:
        return (self.folder / NULL).exists()

    def entries(self) -> list[Entry]:
        """In a stable order."""
        return [entry for _, clips in sorted(self.samples.items()) for _, entry in sorted(clips.items())]

    def _index(self) -> Index:
        shape, entries = self.shape, self.entries()
        return Index(
            shape.frames,
            shape.fps,
            shape.width,
            shape.height,
            dict(self.models),
            ranges(self.folder, entries),
            tuple(entries),
            dict(sorted(self.left_out.items())),
            dict(self.made),
            dict(sorted(self.notes.items())),
        )

    def save(self) -> Index:
        """Write the index. Raises OSError."""
        index = self._index()
        index.save(self.folder)
        self.saved = time.monotonic()
        return index

    def is_complete(self, source: str) -> bool:
        """Whether a video is done; one of which someone deleted samples is forgotten, to be done anew."""
        if any(not (self.folder / entry.file).is_file() for entry in self.samples.get(source, {}).values()):
            self.forget(source)
        return bool(self.samples.get(source)) and source not in self.left_out

    def holds(self, source: str, clip: Clip) -> bool:
        return clip.start in self.samples.get(source, {})

    def add(self, sample: Sample, source: str, clip: Clip, caption: str) -> None:
        """Keep a sample. Raises Unwritable."""
        number = round(clip.start / self.shape.seconds)
        entry = Entry(
            f"{_file_name(source)}-{number:05d}.safetensors", source, clip.start, caption, known_motion(sample.motion)
        )
        with writing(self.folder):
            if not self.has_null_text:  # no text encoder: the rows that a prompt is padded with
                save_null_text(self.folder, torch.zeros_like(sample.text[:1]))
            sample.save(self.folder / entry.file)
            self.samples.setdefault(source, {})[clip.start] = entry
            if time.monotonic() - self.saved > SAVE_EVERY:
                self.save()

    def note(self, source: str, notes: Sequence[str]) -> None:
        """Keep what is worth knowing of a video, beside what is known from a run before."""
        if known := dict.fromkeys((*self.notes.get(source, ()), *notes)):
            self.notes[source] = tuple(known)

    def check_widths(self, sample: Sample) -> None:
        """Refuse features of another width than those of the samples before, which no training could join."""
        for name, width in _widths(sample).items():
            if width != self.widths.setdefault(name, width):
                known = self.widths[name]
                raise FantasyTalkingError(f"its {name} features are {width} wide, those of the other samples {known}.")

    def forget(self, source: str) -> None:
        """Remove the samples of a video, and what is known of it."""
        self.notes.pop(source, None)
        for entry in self.samples.pop(source, {}).values():
            (self.folder / entry.file).unlink(missing_ok=True)


def known_motion(motion: torch.Tensor) -> tuple[float | None, float | None]:
    """`[2]` of a sample as its entry has it."""
    face, body = (value if math.isfinite(value) else None for value in motion.tolist())
    return face, body


def ranges(cache: Path, entries: Sequence[Entry]) -> MotionRanges:
    """The range of both variances over samples, None where too few are known or all are alike.

    Raises:
        FantasyTalkingError: a sample of which the index does not know the motion can't be read.
    """
    motion = [entry.motion or known_motion(_motion(cache / entry.file)) for entry in entries]
    return MotionRanges(_range([pair[0] for pair in motion]), _range([pair[1] for pair in motion]))


def _range(variances: Sequence[float | None]) -> Range | None:
    known = torch.tensor([variance for variance in variances if variance is not None], dtype=torch.float64)
    if len(known) < MIN_SAMPLES:
        return None
    low, high = (float(torch.quantile(known, q)) for q in RANGE)
    return (max(low, SMALLEST * high), high) if low < high else None


def _motion(path: Path) -> torch.Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("motion")
    except (OSError, SafetensorError) as error:
        raise FantasyTalkingError(f"'{path}' is damaged: delete it and run prepare again.") from error


def _made_with(index: Index) -> Mapping[str, str]:
    sizes = {"frames": index.frames, "fps": index.fps, "width": index.width, "height": index.height}
    return {name: str(value) for name, value in {**sizes, **index.models, **index.made}.items()}


def _widths(sample: Sample) -> dict[str, int]:
    widths = {"text": sample.text.shape[-1], "speech": sample.speech.shape[-1]}
    return widths if sample.face is None else {**widths, "face": sample.face.shape[-1]}


def _file_name(source: str) -> str:
    """Readable, and different for every source on every system."""
    readable = "".join(c if c.isascii() and c.isalnum() else "_" for c in Path(source).stem)[:40]
    return f"{readable}-{sha256(source.encode()).hexdigest()[:8]}"
